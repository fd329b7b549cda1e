"""The narrow path on a Proxmox VE node.

`pct` does not exist here. A stand-in takes its place on PATH: it knows the four ways in which pct(1) is
called, refuses any other argument, and runs commands on this host as pct would run them in the guest. It is
a double: what the real pct makes of these arguments is not shown by this test.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.engines.errors import (
    ExecTimeoutError,
    GuestFailedError,
    GuestNotRunningError,
    UnsafeConfigError,
)
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox.local import PctLocal, parse_file

from .samples import UID

STAND_IN = f"""#!{sys.executable}
import json, os, pathlib, re, sys, tty
here = pathlib.Path({{here!r}})
with (here / "calls").open("a") as log:
    log.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
verb, vmid, *rest = sys.argv[1:]
assert re.fullmatch("[0-9]+", vmid), vmid
if (here / "stopped").exists() and verb != "set":
    sys.exit(f"container '{{{{vmid}}}}' not running!")
if verb == "exec":
    assert rest[:3] == ["--keep-env", "1", "--"] and rest[3:], rest
    os.execvp(rest[3], rest[3:])
elif verb == "enter":
    assert rest == ["--keep-env", "1"], rest
    tty.setraw(0)
    os.execvp("cat", ["cat"])
elif verb == "set":
    assert rest and len(rest) % 2 == 0, rest
    for option, value in zip(rest[::2], rest[1::2]):
        assert re.fullmatch("-(mp[0-9]{{{{1,3}}}}|features|delete)", option), option
    if (here / "locked").exists():
        sys.exit("CT is locked (backup)")
else:
    sys.exit(f"no verb of pct: {{{{verb}}}}")
""".replace("{{{{", "{{").replace("}}}}", "}}")

OURS = f"""#dsecos.io/guest%3A web-1a2b3c4d
#dsecos.io/owner-uid%3A {UID}
arch: amd64
features: nesting=1
hostname: web
mp0: local-lvm:vm-20001-disk-1,mp=/data,size=4G
mp130: {{root}}/old,mp=/old
tags: dsecos;dsecos-guest-web-1a2b3c4d;dsecos-uid-{UID}
unprivileged: 1

[before]
#dsecos.io/guest%3A another
features: keyctl=1
"""


class Node:
    """A node with one container of ours (20001) and one of somebody else (20002)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "host"
        (folder / "lxc").mkdir()
        (folder / "bin").mkdir()
        for name in ("shared", "old"):
            (self.root / name).mkdir(parents=True)
        (folder / "lxc" / "20001.conf").write_text(OURS.format(root=self.root))
        (folder / "lxc" / "20002.conf").write_text(f"hostname: theirs\ntags: dsecos;dsecos-uid-{UID}\n")
        (folder / "lxc" / "101.conf").write_text(OURS.format(root=self.root))
        program = folder / "bin" / "pct"
        program.write_text(STAND_IN.format(here=str(folder)))
        program.chmod(0o755)
        self.local = PctLocal(
            range(20000, 30000),
            [self.root],
            directory=folder / "lxc",
            path=f"{folder / 'bin'}:{os.environ['PATH']}",
        )

    def calls(self) -> list[list[str]]:
        return [line[0] for line in self._log()]

    def environments(self) -> list[dict[str, str]]:
        return [line[1] for line in self._log()]

    def _log(self) -> list[list]:  # type: ignore[type-arg]
        file = self.folder / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    async def exec(self, *argv: str, vmid: int = 20001, **beside: object) -> str:
        settings = {"stdin": b"", "env": {}, "time_limit": 10.0, "output_limit": 1000, **beside}
        result = await self.local.exec(GuestKind.CONTAINER, vmid, argv, **settings)  # type: ignore[arg-type]
        assert result.exit_code == 0, result.stderr
        return result.stdout.decode()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_a_command_gets_its_input_and_gives_its_output(node: Node) -> None:
    assert await node.exec("cat", stdin=b"hello") == "hello"
    assert node.calls() == [["exec", "20001", "--keep-env", "1", "--", "cat"]]


async def test_values_of_the_environment_are_in_no_argument_and_have_no_name_of_theirs_on_the_host(
    node: Node,
) -> None:
    secret = {"LD_PRELOAD": "/tmp/evil.so", "PASSWORD": "p'a$s\ns"}
    said = await node.exec("/bin/sh", "-c", 'unset LD_PRELOAD; printf %s "$PASSWORD"', env=secret)
    assert said == "p'a$s\ns"
    [arguments], [environment] = node.calls(), node.environments()
    assert not any(value in word for word in arguments for value in secret.values())
    assert "LD_PRELOAD" not in environment
    assert "PASSWORD" not in environment


async def test_the_hosts_own_environment_stays_on_the_host(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSECOS_PROXMOX_TOKEN", "x")
    assert "DSECOS_PROXMOX_TOKEN" not in await node.exec("env")


async def test_what_looks_like_an_option_is_an_argument_of_the_command(node: Node) -> None:
    assert await node.exec("printf", "%s", "--keep-env") == "--keep-env"


async def test_a_variable_with_a_strange_name_is_refused(node: Node) -> None:
    with pytest.raises(UnsafeConfigError):
        await node.exec("true", env={"A=B; reboot": "x"})
    assert node.calls() == []


async def test_a_command_that_does_not_end_is_killed(node: Node) -> None:
    with pytest.raises(ExecTimeoutError):
        await node.exec("sleep", "1000", time_limit=0.5)


async def test_a_guest_that_does_not_run_is_said(node: Node) -> None:
    (node.folder / "stopped").touch()
    with pytest.raises(GuestNotRunningError):
        await node.exec("true")


@pytest.mark.parametrize(
    ("vmid", "error"), [(101, NotOursError), (20002, NotOursError), (20003, NotFoundError)]
)
async def test_no_container_but_ours_is_touched(node: Node, vmid: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        await node.exec("true", vmid=vmid)
    with pytest.raises(error):
        await node.local.console(GuestKind.CONTAINER, vmid, 80, 24)
    with pytest.raises(error):
        await node.local.set_mounts(vmid, {})
    with pytest.raises(error):
        await node.local.set_features(vmid, keyctl=True)
    assert node.calls() == []


async def test_an_adopted_container_outside_of_our_range_is_entered_and_never_changed(node: Node) -> None:
    file = node.folder / "lxc" / "101.conf"
    adopted = "#dsecos.io/adopted%3A cpulimit memory onboot startup\n"
    file.write_text(adopted + file.read_text())
    assert await node.exec("cat", stdin=b"hello", vmid=101) == "hello"
    console = await node.local.console(GuestKind.CONTAINER, 101, 80, 24)
    await console.close()
    entered = node.calls()
    assert [call[:2] for call in entered] == [["exec", "101"], ["enter", "101"]]
    with pytest.raises(UnsupportedError, match="adopted"):
        await node.local.set_mounts(101, {})
    with pytest.raises(UnsupportedError, match="adopted"):
        await node.local.set_features(101, keyctl=True)
    assert node.calls() == entered
    # Its mark alone opens nothing.
    file.write_text(f"{adopted}hostname: theirs\ntags: dsecos\n")
    with pytest.raises(NotOursError):
        await node.exec("true", vmid=101)


async def test_a_snapshot_does_not_say_that_a_container_is_adopted(node: Node) -> None:
    file = node.folder / "lxc" / "101.conf"
    file.write_text(f"{file.read_text()}\n[later]\n#dsecos.io/adopted%3A onboot\n")
    with pytest.raises(NotOursError):
        await node.exec("true", vmid=101)


async def test_a_vm_is_not_entered_this_way(node: Node) -> None:
    with pytest.raises(UnsupportedError):
        await node.local.exec(GuestKind.VM, 20001, ["true"], stdin=b"", env={}, time_limit=10, output_limit=9)
    with pytest.raises(UnsupportedError):
        await node.local.console(GuestKind.VM, 20001, 80, 24)


async def test_a_terminal_carries_what_is_typed_and_ends_when_it_is_closed(node: Node) -> None:
    console = await node.local.console(GuestKind.CONTAINER, 20001, 80, 24)
    await console.write(b"hello")
    said = b""
    while b"hello" not in said:
        said += await console.read()
    await console.close()
    await console.close()
    with pytest.raises(GuestNotRunningError):
        await console.write(b"x")
    assert node.calls() == [["enter", "20001", "--keep-env", "1"]]


async def test_directories_are_mounted_exactly_as_wanted(node: Node) -> None:
    await node.local.set_mounts(20001, {"mp128": f"{node.root}/shared,mp=/run/dsecos"})
    assert node.calls() == [
        ["set", "20001", "-mp128", f"{node.root}/shared,mp=/run/dsecos", "-delete", "mp130"]
    ]


async def test_nothing_is_set_when_all_is_there(node: Node) -> None:
    await node.local.set_mounts(20001, {"mp130": f"{node.root}/old,mp=/old"})
    await node.local.set_features(20001, keyctl=False)
    assert node.calls() == []


@pytest.mark.parametrize(
    ("slot", "value"),
    [
        ("mp0", "{root}/shared,mp=/data"),
        ("mp256", "{root}/shared,mp=/data"),
        ("rootfs", "{root}/shared,mp=/data"),
        ("mp128", "/etc,mp=/etc"),
        ("mp128", "{root}/../../etc,mp=/etc"),
        ("mp128", "{root}/link,mp=/etc"),
        ("mp128", "{root}/shared"),
        ("mp128", "local-lvm:8,mp=/x"),
    ],
)
async def test_no_other_directory_and_no_other_place_can_be_mounted(
    node: Node, slot: str, value: str
) -> None:
    (node.root / "link").symlink_to("/etc")
    with pytest.raises(UnsafeConfigError):
        await node.local.set_mounts(20001, {slot: value.format(root=node.root)})
    assert node.calls() == []


async def test_keyctl_is_switched_and_nesting_stays(node: Node) -> None:
    await node.local.set_features(20001, keyctl=True)
    assert node.calls() == [["set", "20001", "-features", "nesting=1,keyctl=1"]]


async def test_a_change_that_pct_refuses_is_an_error_with_its_words(node: Node) -> None:
    (node.folder / "locked").touch()
    with pytest.raises(GuestFailedError) as refused:
        await node.local.set_features(20001, keyctl=True)
    assert "locked (backup)" in refused.value.log


def test_a_configuration_file_is_read_without_its_snapshots() -> None:
    raw = parse_file(OURS.format(root="/x"))
    assert raw["features"] == "nesting=1"
    assert raw["description"] == f"dsecos.io/guest: web-1a2b3c4d\ndsecos.io/owner-uid: {UID}\n"
