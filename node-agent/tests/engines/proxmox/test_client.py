"""Whom the client speaks to, what it makes of the answers, and what it never says."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.adapter_errors import AdapterError, OutOfSpaceError, UnsupportedError
from dsecos_agent.engines.errors import (
    BridgeMissingError,
    CertificateChangedError,
    EngineDeniedError,
    EngineUnreachableError,
    GuestLockedError,
    GuestNotRunningError,
    IllegalTransitionError,
    OutcomeUnknownError,
)
from dsecos_agent.engines.proxmox import pinning, refusals
from dsecos_agent.engines.proxmox.client import Client, template_of
from dsecos_proxmox_simulator import DroppedConnection, ExpiredTicket, GatewayError, LostAnswer

from .world import OWNER, Lab, config, lab


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Lab]:
    with lab(tmp_path) as cluster:
        yield cluster


async def at_once(_: float) -> None:
    """No test waits for a back-off."""


@asynccontextmanager
async def client(made: Lab, **changes: Any) -> AsyncIterator[Client]:
    one = Client(made.settings(**changes), sleep=at_once, point=lambda _: None)
    yield one
    await one.close()


def calls(made: Lab) -> list[str]:
    return [f"{call.method} {call.template}" for call in made.simulator.calls]


# Whom we speak to


async def test_the_pinned_certificate_is_enough(made: Lab) -> None:
    async with client(made) as api:
        assert (await api.get("/version"))["version"]


async def test_an_authority_is_enough(made: Lab, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(made.simulator.ca_pem)
    async with client(made, fingerprint=None, ca=tmp_path / "ca.pem") as api:
        assert (await api.get("/version"))["version"]


async def test_a_certificate_that_nobody_signed_is_refused_and_no_credential_is_sent(made: Lab) -> None:
    async with client(made, fingerprint=None) as api:
        with pytest.raises(CertificateChangedError, match=made.simulator.fingerprint):
            await api.get("/version")
    assert calls(made) == []


@pytest.mark.parametrize("token", [True, False])
async def test_a_changed_certificate_shows_both_fingerprints_and_no_credential_is_sent(
    made: Lab, token: bool
) -> None:
    pinned = made.simulator.fingerprint
    made.simulator.renew_certificate()
    login = {} if token else {"token": "", "user": "root@pam", "password": "secret"}
    async with client(made, fingerprint=pinned, **login) as api:
        for write in (False, True):
            with pytest.raises(CertificateChangedError) as changed:
                await (api.post("/pools", poolid="p") if write else api.get("/version"))
            assert pinned in str(changed.value)
            assert made.simulator.fingerprint in str(changed.value)
    assert calls(made) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:8006", "pve1:8006", "https://"])
def test_only_https_is_spoken(made: Lab, url: str) -> None:
    with pytest.raises(UnsupportedError):
        Client(made.settings(url=url))


def test_a_fingerprint_is_64_hex_digits_with_or_without_colons() -> None:
    assert pinning.normalised("AB:" * 31 + "CD") == "ab" * 31 + "cd"
    assert pinning.shown("ab" * 32) == ":".join(["AB"] * 32)
    with pytest.raises(ValueError, match="64 hex digits"):
        pinning.normalised("AB:CD")


# Who we are


async def test_a_wrong_token_is_denied(made: Lab) -> None:
    async with client(made, token="dsecos@pve!agent=00000000-0000-0000-0000-000000000000") as api:
        with pytest.raises(EngineDeniedError, match="credential"):
            await api.get("/version")


async def test_a_missing_privilege_is_named_with_its_path(made: Lab) -> None:
    secret = made.simulator.add_token("weak@pve", "t", {"/vms": ["VM.Audit"]}, privsep=False)
    async with client(made, token=f"weak@pve!t={secret}") as api:
        with pytest.raises(EngineDeniedError, match=r"privilege Sys.Audit on /nodes/pve1"):
            await api.get("/nodes/pve1/status")


async def test_a_ticket_that_expired_is_renewed_once_and_the_call_made_again(made: Lab) -> None:
    async with client(made, token="", user="root@pam", password="secret") as api:
        made.simulator.faults.once("GET", "/version", ExpiredTicket())
        assert (await api.get("/version"))["version"]
    assert calls(made) == ["POST /access/ticket", "GET /version", "POST /access/ticket", "GET /version"]


async def test_a_wrong_password_is_denied_and_not_shown(made: Lab) -> None:
    async with client(made, token="", user="root@pam", password="hush-hush") as api:
        with pytest.raises(EngineDeniedError) as denied:
            await api.get("/version")
    assert "hush-hush" not in str(denied.value)


async def test_no_secret_is_logged_or_told(made: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with client(made) as api:
        with pytest.raises(AdapterError) as refused:
            await api.post("/nodes/pve1/lxc", vmid=20001, ostemplate="x", password="hush-hush", bogus="1")
    assert "hush-hush" not in str(refused.value) + caplog.text
    assert made.secret not in str(refused.value) + caplog.text
    assert made.secret not in repr(made.settings())


# What became of a call


async def test_a_refused_parameter_is_named(made: Lab) -> None:
    async with client(made) as api:
        with pytest.raises(refusals.InvalidParametersError, match="bogus") as refused:
            await api.get("/version", bogus=1)
    assert list(refused.value.parameters) == ["bogus"]


async def test_what_this_version_does_not_have(made: Lab) -> None:
    async with client(made) as api:
        with pytest.raises(UnsupportedError):
            await api.get("/nodes/pve1/bogus")


@pytest.mark.parametrize(
    "fault", [DroppedConnection(), GatewayError(596), GatewayError(599), GatewayError(595)]
)
async def test_a_read_is_made_again(made: Lab, fault: Any) -> None:
    made.simulator.faults.once("GET", "/version", fault, times=2)
    async with client(made) as api:
        assert (await api.get("/version"))["version"]
        made.simulator.faults.always("GET", "/version", fault)
        with pytest.raises(EngineUnreachableError):
            await api.get("/version")
        assert api.calls["GET", "/version"] == 6


@pytest.mark.parametrize("fault", [LostAnswer(), DroppedConnection(), GatewayError(596), GatewayError(599)])
async def test_a_write_is_never_made_again_and_its_outcome_is_unknown(made: Lab, fault: Any) -> None:
    made.simulator.faults.once("POST", "/pools", fault)
    async with client(made) as api:
        with pytest.raises(OutcomeUnknownError):
            await api.post("/pools", poolid="p1")
    assert calls(made).count("POST /pools") == 1


async def test_a_write_to_a_node_that_was_never_reached_did_not_happen(made: Lab) -> None:
    made.simulator.faults.once("POST", "/nodes/{node}/lxc", GatewayError(595, done=False))
    async with client(made) as api:
        with pytest.raises(EngineUnreachableError):
            await api.post("/nodes/pve1/lxc", vmid=20000, ostemplate="x")


async def test_nobody_listens(made: Lab) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}"
    async with client(made, url=url) as api:
        for call in (api.get("/version"), api.post("/pools", poolid="p1")):
            with pytest.raises(EngineUnreachableError):
                await call


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("CT 102 already exists on node 'pve1'", refusals.IdTakenError),
        ("CT is locked (backup)", GuestLockedError),
        ("VM is locked (snapshot-delete)", GuestLockedError),
        ("can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", GuestLockedError),
        ("CT 102 already running", refusals.AlreadyRunningError),
        ("CT 102 not running", GuestNotRunningError),
        ("unable to destroy CT 102 - container is running", IllegalTransitionError),
        ("can't overwrite running container", IllegalTransitionError),
        ("unable to shrink disk size", UnsupportedError),
        ("snapshot feature is not available", UnsupportedError),
        ("Configuration file 'nodes/pve1/lxc/104.conf' does not exist", refusals.GuestGoneError),
        (
            "detected modified configuration - file changed by other user? Try again.",
            refusals.GuestModifiedError,
        ),
        ("bridge 'vnet1' does not exist", BridgeMissingError),
        ("rbd error: (28) No space left on device", OutOfSpaceError),
        (
            "lvcreate 'x' error: Cannot create new thin volume, free space in thin pool x reached threshold.",
            OutOfSpaceError,
        ),
        ("got no worker upid - start worker failed", OutcomeUnknownError),
        ("Permission check failed (/storage/btr, Datastore.AllocateSpace)", EngineDeniedError),
        ("something new", AdapterError),
    ],
)
def test_sentences_of_proxmox_mean_the_same_at_once_and_in_a_task(
    said: str, meant: type[AdapterError]
) -> None:
    error = refusals.of_text(said, "start of one")
    assert type(error) is meant
    assert "start of one" in str(error)


def test_a_lock_is_named() -> None:
    error = refusals.of_text("CT is locked (backup)", "start of one")
    assert isinstance(error, GuestLockedError)
    assert error.lock == "backup"


# Counting


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/cluster/resources", "/cluster/resources"),
        ("/cluster/ha/resources/ct:100/migrate", "/cluster/ha/resources/{sid}/migrate"),
        ("/nodes/pve1/lxc/100/snapshot/s1/rollback", "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback"),
        (
            "/nodes/pve1/tasks/UPID:pve1:00000563:0002B8A0:6B02122D:vzcreate:102:root@pam:/status",
            "/nodes/{node}/tasks/{upid}/status",
        ),
        (
            "/nodes/pve1/storage/local/content/local:vztmpl/a.tar.zst",
            "/nodes/{node}/storage/{storage}/content/{volume}",
        ),
    ],
)
def test_calls_are_counted_by_what_they_are_not_by_whom_they_are_about(path: str, template: str) -> None:
    assert template_of(path) == template


async def test_creating_and_starting_twenty_containers_costs_few_calls(made: Lab) -> None:
    engine = made.engine()
    names = [f"guest-{number}" for number in range(20)]

    async def bring_up(name: str) -> None:
        await engine.write_config(config(name))
        await engine.start(name, OWNER)

    await asyncio.gather(*(bring_up(name) for name in names))
    spent = engine.client.calls
    polls = spent["GET", "/nodes/{node}/tasks/{upid}/status"]
    await engine.close()
    # A plain script makes two calls and looks at least twice at their tasks.
    print(f"\n20 containers: {spent.total()} calls, of them {polls} looks at tasks")
    assert spent.total() - polls <= 20 * 5
