"""A simulator and the real client library, for each test its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dsecos_proxmox_simulator import ManualClock, Simulator, World
from proxmoxer import ProxmoxAPI

TEMPLATE = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst"


@pytest.fixture(params=["8.4", "9.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_795_298_000)


@pytest.fixture
def pve(version: str, clock: ManualClock) -> Iterator[Simulator]:
    with Simulator(World(nodes=("pve1", "pve2")), version=version, clock=clock) as simulator:
        yield simulator


@pytest.fixture
def connect(pve: Simulator, tmp_path: Path) -> Callable[..., Any]:
    """proxmoxer as root@pam by ticket, or with a token `user@realm!name` and its secret."""
    authority = tmp_path / "ca.pem"
    authority.write_text(pve.ca_pem)

    def client(token: str = "", value: str = "", *, password: str = "secret", timeout: float = 5) -> Any:
        if not token:
            return ProxmoxAPI(
                pve.host, user="root@pam", password=password, verify_ssl=str(authority), timeout=timeout
            )
        user, name = token.split("!")
        return ProxmoxAPI(
            pve.host,
            user=user,
            token_name=name,
            token_value=value,
            verify_ssl=str(authority),
            timeout=timeout,
        )

    return client


@pytest.fixture
def api(connect: Callable[..., Any]) -> Any:
    return connect()


@pytest.fixture
def outcome(pve: Simulator) -> Callable[[str], str]:
    """What a task ended with, once everything is quiet."""

    def of(upid: str) -> str:
        assert pve.tasks.wait_idle()
        return pve.tasks.find(upid).exitstatus

    return of


@pytest.fixture
def container(api: Any, outcome: Callable[[str], str]) -> Callable[..., int]:
    """A container on pve1, as tests need one."""

    def make(vmid: int = 102, **options: Any) -> int:
        wanted = {"hostname": f"ct{vmid}", "rootfs": "btr:2", "unprivileged": 1, "memory": 256, "cores": 1}
        upid = api.nodes("pve1").lxc.post(vmid=vmid, ostemplate=TEMPLATE, **(wanted | options))
        assert outcome(upid) == "OK"
        return vmid

    return make


@pytest.fixture
def machine(api: Any, outcome: Callable[[str], str]) -> Callable[..., int]:
    """A virtual machine on pve1, as tests need one."""

    def make(vmid: int = 200, **options: Any) -> int:
        wanted = {"name": f"vm{vmid}", "memory": 2048, "scsi0": "local-lvm:8", "net0": "virtio,bridge=vmbr0"}
        assert outcome(api.nodes("pve1").qemu.post(vmid=vmid, **(wanted | options))) == "OK"
        return vmid

    return make
