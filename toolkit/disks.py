"""What a database file stands on, and what SQLite must be told there so that a commit is a promise."""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")  # Linux
MOUNT = "/sbin/mount"  # macOS and the BSDs, which have no such file

# WAL needs memory shared between processes, which these do not give (sqlite.org/wal.html).
NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afpfs", "webdav", "9p", "afs", "ceph", "lustre"),
        *("gpfs", "beegfs", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "macfuse", "osxfuse"),
    }
)
_OCTAL = re.compile(r"\\([0-7]{3})")  # a space in a mount point is \\040
_MOUNTED = re.compile(r"^.+? on (?P<point>.+) \((?P<kind>[\w.]+)(?:, [^()]*)?\)$")

Mount = tuple[Path, str]  # mount point, kind of file system


def mounts(platform: str, run: Callable[[], str] | None = None) -> list[Mount]:
    """What is mounted here; empty where it cannot be told. `run` gives the text of `mount`."""
    try:
        if platform.startswith("linux"):
            return list(from_proc(MOUNTS.read_text(encoding="utf-8", errors="replace")))
        return list(from_mount((run or _mount)()))
    except (OSError, subprocess.SubprocessError):
        return []


def _mount() -> str:
    return subprocess.run([MOUNT], capture_output=True, text=True, check=True, timeout=10).stdout


def from_proc(text: str) -> Iterable[Mount]:
    """Linux's /proc/self/mounts: `host:/home /home nfs4 rw,relatime 0 0` (proc_pid_mounts(5))."""
    for line in text.splitlines():
        _, point, kind, *_ = (*line.split(), "", "", "")
        if kind:
            yield Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), point)), kind


def from_mount(text: str) -> Iterable[Mount]:
    """The output of `mount` on macOS: `//me@nas/home on /Volumes/home (smbfs, nodev, nosuid, mounted by me)`."""
    for line in text.splitlines():
        if found := _MOUNTED.match(line.strip()):
            yield Path(found["point"]), found["kind"]


def file_system(path: Path, mounted: Iterable[Mount]) -> str:
    """The kind of file system that holds a path: of the last one mounted nearest to it. Empty: unknown."""
    home = path.resolve()
    holding = [
        (len(point.parts), order, kind)
        for order, (point, kind) in enumerate(mounted)
        if home.is_relative_to(point)
    ]
    return max(holding)[2] if holding else ""


def pragmas(kind: str, platform: str) -> list[str]:
    """SQLite's settings for a file system of this kind.

    On macOS an fsync leaves data in the disk's own cache; F_FULLFSYNC, which SQLite uses only when told to,
    does not (sqlite.org/pragma.html#pragma_fullfsync).
    """
    journal = "TRUNCATE" if kind in NETWORK else "WAL"
    full = ["fullfsync=1", "checkpoint_fullfsync=1"] if platform == "darwin" else []
    return [f"journal_mode={journal}", "synchronous=FULL", *full, "foreign_keys=ON"]
