"""The host's settings are given back as the agent found them."""

import json
from pathlib import Path

import pytest
from dsecos_control_plane import restore
from dsecos_control_plane.settings import Settings


def test_added_lines_go_and_all_others_stay(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("alice:100000:65536\nroot:1000000:65536\nroot:5:6\n")
    record = settings.run / "subids.json"
    record.write_text(json.dumps({"added": {"root:1000000:65536": [str(file), str(tmp_path / "missing")]}}))
    assert restore.subordinate_ids(settings) == ["root:1000000:65536"]
    assert file.read_text() == "alice:100000:65536\nroot:5:6\n"
    assert restore.subordinate_ids(settings) == []


def test_kernel_parameters_get_their_former_value(settings: Settings, tmp_path: Path) -> None:
    parameter = tmp_path / "net" / "ipv4" / "ip_forward"
    parameter.parent.mkdir(parents=True)
    parameter.write_text("1\n")
    record = settings.run / "sysctl.json"
    record.write_text(json.dumps({"net/ipv4/ip_forward": "0", "net/ipv4/conf/gone/rp_filter": "1"}))
    restore.sysctls(settings, tmp_path)
    assert parameter.read_text() == "0\n"
    assert not record.exists()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_record_that_was_cut_off_is_no_obstacle(settings: Settings, tmp_path: Path, content: str) -> None:
    (settings.run / "sysctl.json").write_text(content)
    assert restore.sysctls(settings, tmp_path) == []
