"""What `dsecos logs` runs on the node, and what it lets through to the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dsecos_api import Stack
from dsecos_cli.commands.logs import check_service, local_guest, log_command, stream
from dsecos_cli.errors import CliError, UsageError
from dsecos_cli.settings import Settings

from console.tests.objects import stack_object

SERVICES = [{"name": "web"}, {"name": "db"}]


def stack(**status: object) -> Stack:
    raw = stack_object()
    raw["metadata"]["namespace"] = "demo"
    return Stack.parse({**raw, "status": {"node": "node-1", "guest": "shop-12345678", **status}})


def test_the_argument_list() -> None:
    assert log_command(Path("/l"), "shop-1", "web", follow=True, tail=5, timestamps=True) == [
        *("lxc-attach", "-P", "/l", "-n", "shop-1", "--clear-env", "--"),
        *("docker", "compose", "--ansi", "never", "-p", "app", "logs", "--no-color", "--tail", "5"),
        *("--follow", "--timestamps"),
        *("--", "web"),
    ]


def test_a_guest_on_this_machine_is_found_by_its_folder(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, node_name="node-1")
    with pytest.raises(CliError, match="not here"):
        local_guest(stack(), settings, root=True)
    (tmp_path / "lxc" / "shop-12345678").mkdir(parents=True)
    assert local_guest(stack(), settings, root=True) == "shop-12345678"


def test_reading_inside_of_the_guest_takes_root(tmp_path: Path) -> None:
    with pytest.raises(CliError) as raised:
        local_guest(stack(), Settings(home=tmp_path, node_name="node-1"), root=False)
    assert raised.value.hint == "sudo dsecos logs shop -n demo"


def test_a_service_must_be_one_of_the_stacks() -> None:
    check_service(stack(services=SERVICES), "web")
    check_service(stack(services=SERVICES), None)
    with pytest.raises(UsageError) as raised:
        check_service(stack(services=SERVICES), "wbe")
    assert raised.value.hint == "It has: web, db"
    with pytest.raises(UsageError):
        check_service(stack(), "--file=/etc/shadow")


def test_what_a_guest_writes_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert stream([sys.executable, "-c", r"print('a\x1b[2Jb\x07'); import sys; sys.exit(3)"]) == 3
    assert capsys.readouterr().out == "ab\n"


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(CliError, match="lxc-attach is not installed"):
        stream(["/nowhere/lxc-attach"])
