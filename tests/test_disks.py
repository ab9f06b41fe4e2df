"""File systems and what SQLite is told on them, from sample texts of Linux and macOS."""

import errno
import fcntl
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit import disks, store
from toolkit.errors import InputError

LINUX = """\
proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0
/dev/nvme0n1p2 / ext4 rw,relatime 0 0
nas:/export/home /home nfs4 rw,relatime,vers=4.2,addr=10.0.0.2 0 0
/dev/sdb1 /home/me/local\\040disk xfs rw,noatime 0 0
//win/share /mnt/share cifs rw 0 0
tmpfs /home/me/scratch tmpfs rw 0 0
me@host:/data /home/me/remote fuse.sshfs rw 0 0
torn
"""
MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect, root data)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//me@nas._smb._tcp.local/home on /Volumes/home (smbfs, nodev, nosuid, mounted by me)
nas:/export on /Volumes/on the shelf (1) (nfs, nodev, nosuid, mounted by me)
/dev/disk4s1 on /Volumes/USB (msdos, local, nodev, nosuid, noowners)
"""
LINUX_MOUNTS, MACOS_MOUNTS = list(disks.from_proc(LINUX)), list(disks.from_mount(MACOS))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/runs/a", "ext4"),
        ("/home/me/runs/a", "nfs4"),
        ("/home/me/local disk/runs", "xfs"),
        ("/home/me/scratch/run", "tmpfs"),
        ("/home/me/remote/run", "fuse.sshfs"),
        ("/homes/me", "ext4"),  # no part of /home
        ("/mnt/share/run", "cifs"),
    ],
)
def test_on_linux_the_nearest_mount_tells_the_file_system(path: str, kind: str) -> None:
    assert disks.file_system(Path(path), LINUX_MOUNTS) == kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/Users/me/runs", "apfs"),
        ("/Volumes/home/runs", "smbfs"),
        ("/Volumes/on the shelf (1)/runs", "nfs"),
        ("/Volumes/USB/runs", "msdos"),
    ],
)
def test_on_macos_the_output_of_mount_tells_it(path: str, kind: str) -> None:
    assert disks.file_system(Path(path), MACOS_MOUNTS) == kind


def test_of_two_file_systems_on_one_mount_point_the_later_one_is_seen() -> None:
    assert disks.file_system(Path("/home/x"), [(Path("/home"), "autofs"), (Path("/home"), "nfs")]) == "nfs"


def test_where_mounts_cannot_be_told_the_file_system_is_unknown_and_taken_for_a_local_one() -> None:
    def broken() -> str:
        raise subprocess.CalledProcessError(1, "mount")

    assert disks.mounts("darwin", broken) == []
    assert disks.file_system(Path("/runs"), []) == ""
    assert "journal_mode=WAL" in disks.pragmas("", "linux")


def test_the_platform_decides_who_is_asked() -> None:
    assert disks.mounts("darwin", lambda: MACOS) == MACOS_MOUNTS


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "smbfs", "cifs", "afpfs", "fuse.sshfs", "lustre"])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_network_file_system_gets_no_wal(kind: str, platform: str) -> None:
    assert disks.pragmas(kind, platform)[0] == "journal_mode=TRUNCATE"


@pytest.mark.parametrize("kind", ["ext4", "apfs", "xfs", "btrfs", "tmpfs", "overlay", ""])
def test_a_local_one_does(kind: str) -> None:
    assert disks.pragmas(kind, "linux") == ["journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"]


def test_macos_is_told_to_write_through_the_disks_cache() -> None:
    assert {"fullfsync=1", "checkpoint_fullfsync=1"} <= set(disks.pragmas("apfs", "darwin"))


@pytest.mark.parametrize("kind", ["apfs", "smbfs"])
def test_sqlite_takes_every_setting(tmp_path: Path, kind: str) -> None:
    db = sqlite3.connect(tmp_path / "x.sqlite")
    for pragma in disks.pragmas(kind, "darwin"):
        db.execute(f"PRAGMA {pragma}")
        name, value = pragma.split("=")
        (is_now,) = db.execute(f"PRAGMA {name}").fetchone()
        assert str(is_now).upper() in {value, {"FULL": "2", "ON": "1"}.get(value)}
    db.close()


@pytest.mark.parametrize("kind", ["nfs", "ext4"])
def test_a_ledger_is_written_and_read_on_either(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "mounts", lambda platform: [(Path("/"), kind)])
    path = tmp_path / "x.sqlite"
    writer = store.Writer(path, ["CREATE TABLE t(x);"])
    writer.now(lambda db: db.execute("INSERT INTO t VALUES (1)"))
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reader:
        assert reader.execute("SELECT x FROM t").fetchall() == [(1,)]
        assert reader.execute("PRAGMA journal_mode").fetchone() == ({"nfs": "delete", "ext4": "wal"}[kind],)
    writer.close()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EWOULDBLOCK, "another pricematch is writing to this run"),
        (errno.EACCES, "another pricematch is writing to this run"),
        (errno.ENOTSUP, "its file system cannot lock files"),
        (errno.ENOLCK, "its file system cannot lock files"),
    ],
)
def test_a_lock_that_is_held_is_told_from_one_that_cannot_be(
    tmp_path: Path, number: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match=said):
        store.lock(tmp_path / "ledger.sqlite")


def test_this_machines_own_mounts_are_read() -> None:
    assert disks.file_system(Path(sys.executable), disks.mounts(sys.platform))
