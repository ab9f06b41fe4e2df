from pathlib import Path

import pytest

from toolkit import publish


def test_a_folder_takes_its_place_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "arm"
    with publish.folder(target) as out:
        (out / "a").write_text("1")
        assert not target.exists()
    with publish.folder(target) as out:
        (out / "b").write_text("2")
        assert [p.name for p in target.iterdir()] == ["a"]
    assert [p.name for p in target.iterdir()] == ["b"]
    assert [p.name for p in target.parent.iterdir()] == ["arm"]


def test_a_failure_leaves_the_older_folder(tmp_path: Path) -> None:
    target = tmp_path / "arm"
    with publish.folder(target) as out:
        (out / "a").write_text("1")

    def fail() -> None:
        with publish.folder(target) as out:
            (out / "b").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["arm"]
    assert [p.name for p in target.iterdir()] == ["a"]


def test_what_an_interrupted_writer_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".arm.partial").mkdir()
    (tmp_path / ".arm.partial" / "junk").write_text("x")
    with publish.folder(tmp_path / "arm") as out:
        (out / "a").write_text("1")
    assert [p.name for p in (tmp_path / "arm").iterdir()] == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == ["arm"]
