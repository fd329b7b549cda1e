"""A guest that runs is told where its node's registry is: the real script, in an /etc of its own."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import RetryableError
from dsecos_agent.engines.model import Capability, ExecResult
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.inside import Preparation
from dsecos_agent.guests.record import Records

from .samples import PROXMOX, PVE, wish

PORT = 5001
MIRROR = f"https://registry.dsecos.internal:{PORT}"
HOSTS = "127.0.0.1 localhost\n10.20.0.1 registry.dsecos.internal\n"
CERTS = f"docker/certs.d/registry.dsecos.internal:{PORT}"


class Shell:
    """An engine of which nothing is asked but a command; dockerd is told nothing for real."""

    def __init__(self, etc: Path, programs: Path) -> None:
        self.etc = etc
        self.programs = programs
        self.calls = 0

    async def exec(
        self,
        name: str,
        owner_uid: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        time_limit: float,
        output_limit: int = 0,
    ) -> ExecResult:
        self.calls += 1
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(self.etc), *argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": f"{self.programs}:/usr/bin:/bin:/usr/sbin:/sbin"},
        )
        out, err = await process.communicate(stdin)
        return ExecResult(process.returncode or 0, out, err, truncated=False)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    etc, programs = tmp_path / "etc", tmp_path / "bin"
    (etc / "docker").mkdir(parents=True)
    (etc / "hosts").write_text("127.0.0.1 localhost\n10.0.0.1 registry.dsecos.internal\n")
    programs.mkdir()
    (programs / "pkill").write_text('#!/bin/sh\necho "$@" >>/etc/told\n')
    (programs / "pkill").chmod(0o755)
    return Shell(etc, programs)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


@pytest.fixture
def preparation(shell: Shell, records: Records, tmp_path: Path) -> Preparation:
    (tmp_path / "trust").mkdir()
    return Preparation(shell, records, tmp_path / "trust", PORT)  # type: ignore[arg-type]  # exec is enough


def apart() -> Wanted:
    """One that sees nothing of the host."""
    kinds = {kind: found - {Capability.HOST_MOUNTS} for kind, found in PROXMOX.kinds.items()}
    return wish(node=replace(PVE, capabilities=replace(PROXMOX, kinds=kinds)), volumes=[])


async def test_one_that_sees_the_hosts_directories_gets_a_link_and_is_told_once(
    shell: Shell, preparation: Preparation, records: Records
) -> None:
    wanted = wish(node=PVE, volumes=[])
    (shell.etc / "docker/daemon.json").write_text('{"registry-mirrors": ["https://old:1"], "debug": true}')
    await preparation.prepare(wanted)
    await preparation.prepare(wanted)
    assert shell.calls == 1
    assert (shell.etc / "hosts").read_text() == HOSTS
    assert (shell.etc / CERTS).readlink() == Path("/etc/dsecos/registry-trust")
    daemon = json.loads((shell.etc / "docker/daemon.json").read_text())
    assert daemon == {"registry-mirrors": [MIRROR], "debug": True}
    assert (shell.etc / "told").read_text() == "-HUP -x dockerd\n"
    records.update(wanted.name, "somebody else", prepared=True)
    await preparation.prepare(wanted)
    assert shell.calls == 2, "what is known of another owner's guest does not count"


async def test_one_that_sees_nothing_gets_the_authority_and_is_told_each_time(
    shell: Shell, preparation: Preparation, tmp_path: Path
) -> None:
    authority = tmp_path / "trust/ca.crt"
    await preparation.prepare(apart())
    assert json.loads((shell.etc / "docker/daemon.json").read_text()) == {"registry-mirrors": [MIRROR]}
    assert list((shell.etc / CERTS).iterdir()) == [], "the node has no registry"
    for text in ("the first", "a later one"):
        authority.write_text(text)
        (shell.etc / "hosts").write_text("127.0.0.1 localhost\n")
        await preparation.prepare(apart())
        assert [path.name for path in (shell.etc / CERTS).iterdir()] == ["ca.crt"]
        assert (shell.etc / CERTS / "ca.crt").read_text() == text
        assert (shell.etc / "hosts").read_text() == HOSTS
    assert (shell.etc / "told").read_text() == "-HUP -x dockerd\n", "only when the mirrors change"
    authority.unlink()
    await preparation.prepare(apart())
    assert (shell.etc / CERTS / "ca.crt").read_text() == "a later one"


RESOLVER = "nameserver 10.20.0.1\nsearch acme.dsecos.internal\noptions ndots:2\n"


async def test_one_that_is_new_is_told_where_it_finds_names(shell: Shell, preparation: Preparation) -> None:
    resolver = shell.etc / "resolv.conf"
    resolver.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    wanted = replace(apart(), resolver=RESOLVER)
    await preparation.prepare(wanted)
    assert not resolver.is_symlink()
    assert resolver.read_text() == RESOLVER
    assert not (shell.etc / ".pve-ignore.resolv.conf").exists()
    resolver.write_text("nameserver 192.0.2.53\n")
    await preparation.prepare(wanted)
    assert resolver.read_text() == "nameserver 192.0.2.53\n", "afterwards it is the guest's own"


async def test_proxmox_does_not_write_its_own_again(shell: Shell, preparation: Preparation) -> None:
    resolver = shell.etc / "resolv.conf"
    resolver.write_text("# --- BEGIN PVE ---\nnameserver 192.0.2.53\n# --- END PVE ---\n")
    await preparation.prepare(replace(wish(node=PVE, volumes=[]), resolver=RESOLVER))
    assert resolver.read_text() == RESOLVER
    assert (shell.etc / ".pve-ignore.resolv.conf").exists()


async def test_where_no_names_are_served_a_guest_keeps_what_it_has(
    shell: Shell, preparation: Preparation
) -> None:
    (shell.etc / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    await preparation.prepare(apart())
    assert (shell.etc / "resolv.conf").read_text() == "nameserver 192.0.2.53\n"


async def test_a_template_of_which_the_mirrors_cannot_be_set_is_told(
    shell: Shell, preparation: Preparation, records: Records
) -> None:
    (shell.etc / "docker/daemon.json").write_text('{"debug": true}')
    with pytest.raises(RetryableError, match="no list of registry-mirrors"):
        await preparation.prepare(apart())
    assert records.get(apart().name) is None


async def test_a_guest_with_a_disk_of_ours_was_told_before_its_start(
    shell: Shell, preparation: Preparation
) -> None:
    await preparation.prepare(wish())
    assert shell.calls == 0
