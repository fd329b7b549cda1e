"""A folder that is not ours is neither used nor removed."""

import stat
from pathlib import Path

import pytest
from dsecos_control_plane import home
from dsecos_control_plane.command import run
from dsecos_control_plane.errors import UnsafeHomeError
from dsecos_control_plane.settings import Settings


def test_others_pass_through_it_but_do_not_list_it(settings: Settings) -> None:
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o711


def test_it_remembers_its_settings(settings: Settings) -> None:
    assert home.recorded(settings.home) == settings


def test_the_command_line_lies_beside_kubectl(settings: Settings) -> None:
    link = settings.bin / "dsecos"
    link.unlink()
    link.symlink_to("/of/a/checkout/that/moved")
    home.prepare(settings)
    assert run([link, "--help"])


def test_settings_that_name_another_folder_are_not_believed(settings: Settings, tmp_path: Path) -> None:
    marker = (settings.home / home.MARKER).read_text()
    (tmp_path / home.MARKER).write_text(marker)
    assert home.recorded(tmp_path) is None


def test_names_on_the_host_cannot_change_during_its_life(settings: Settings) -> None:
    with pytest.raises(UnsafeHomeError, match="DSECOS_LINK_PREFIX"):
        home.prepare(settings.model_copy(update={"link_prefix": "zz"}))
    home.prepare(settings.model_copy(update={"api_port": 1}))


def test_a_folder_with_other_files_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(UnsafeHomeError):
        home.prepare(Settings(home=tmp_path))
    with pytest.raises(UnsafeHomeError):
        home.remove(Settings(home=tmp_path))
    assert (tmp_path / "precious").exists()


def test_it_is_not_removed_while_something_is_mounted_inside(settings: Settings) -> None:
    inside = settings.home / "pools" / "default"
    inside.mkdir(parents=True)
    run(["mount", "-t", "tmpfs", "tmpfs", inside])
    try:
        (inside / "data").touch()
        with pytest.raises(UnsafeHomeError, match="mounted"):
            home.remove(settings)
        assert (inside / "data").exists()
    finally:
        run(["umount", inside])


def test_it_is_removed_as_a_whole_and_only_once(settings: Settings) -> None:
    assert home.remove(settings)
    assert not settings.home.exists()
    assert not home.remove(settings)
    settings.home.mkdir()
