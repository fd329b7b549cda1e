"""Files are written in one step, and links in a service's folder lead nowhere."""

import os
import stat
from pathlib import Path

import pytest
from dsecos_control_plane.files import folder, mirror, read, write
from dsecos_control_plane.identity import Identity


def test_it_tells_whether_anything_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write(path, "one")
    assert not write(path, "one")
    assert write(path, "two")
    assert path.read_text() == "two"


def test_mode_and_owner_are_set_even_without_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, "secret", mode=0o644)
    assert not write(path, "secret", mode=0o600, owner=Identity(4711, 4712))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)


@pytest.mark.parametrize("content", ["the same", "something else"])
def test_a_planted_link_is_replaced_and_its_target_untouched(tmp_path: Path, content: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("the same")
    victim.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(victim)
    assert write(link, content, mode=0o666, owner=Identity(4711, 4711))
    assert not link.is_symlink()
    assert victim.read_text() == "the same"
    assert victim.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o640


def test_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe")
    assert read(tmp_path / "link") is None
    assert not read(tmp_path / "pipe")
    assert read(tmp_path / "missing") is None


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(OSError, match="link"):
        folder(tmp_path / "link", mode=0o777)


def test_a_mirror_follows_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "one").write_text("1")
    (source / "two").write_text("2")
    assert mirror(source, target)
    assert not mirror(source, target)
    (source / "two").unlink()
    assert mirror(source, target)
    assert sorted(path.name for path in target.rglob("*")) == ["deep", "one"]
