"""What is wrong with a Proxmox VE is told by one typed error, leaves nothing half made, and is over once the
world is right again.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotFoundError, NotOursError, OutOfSpaceError
from dsecos_agent.engines.errors import (
    BridgeMissingError,
    CertificateChangedError,
    EngineDeniedError,
    EngineUnreachableError,
    GuestLockedError,
    IdsExhaustedError,
    IllegalTransitionError,
    ImageMissingError,
)
from dsecos_agent.engines.model import (
    Adopted,
    GuestConfig,
    GuestState,
    Limits,
    NetworkInterface,
    RootImage,
)
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_proxmox_simulator import GatewayError, Guest, ManualClock, Simulator, World
from dsecos_proxmox_simulator.faults import Fault, Faults, Site

from .schedules.engines import TOKEN, grants, make_engine

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
STRANGER = "5e0f6b8e-0000-4000-8000-000000000002"
STORAGE = "local-lvm"
VMIDS = range(20000, 20010)
MIB, GIB = 1 << 20, 1 << 30

Engines = Callable[..., ProxmoxEngine]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pve(clock: ManualClock) -> Iterator[Simulator]:
    with Simulator(World(nodes=("pve1", "pve2")), clock=clock) as simulator:
        yield simulator


@pytest.fixture
async def engines(pve: Simulator, tmp_path: Path) -> AsyncIterator[Engines]:
    """Make engines that share their notes, as those of an agent before and after a change of settings."""
    secret = pve.add_token(*TOKEN.split("!"), grants(["pve1", "pve2"]))
    settings = ProxmoxSettings(
        url=pve.url,
        node="pve1",
        token=f"{TOKEN}={secret}",
        fingerprint=pve.fingerprint,
        storage=STORAGE,
        vmids=VMIDS,
        lock_limit=0.3,
        settle_limit=0.1,
    )
    made: list[ProxmoxEngine] = []

    def make(**changes: object) -> ProxmoxEngine:
        made.append(make_engine(replace(settings, **changes), tmp_path))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for engine in made:
        await engine.close()


@pytest.fixture
def engine(engines: Engines) -> ProxmoxEngine:
    return engines()


def config(name: str = "shop", **changes: object) -> GuestConfig:
    port = NetworkInterface("unused", "vmbr0", "02:00:00:00:00:01", IPv4Interface("10.250.0.2/24"), None)
    made = GuestConfig(
        name=name,
        owner_uid=OWNER,
        root=RootImage("debian", GIB),
        id_map=None,
        interfaces=(port,),
        limits=Limits(memory_bytes=128 * MIB),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def nothing_is_left(pve: Simulator) -> bool:
    """No guest and no disk in our range."""
    pve.tasks.wait_idle()
    return not pve.world.guests and not [volume for volume in pve.world.volumes() if volume.vmid]


async def lives(engine: ProxmoxEngine, pve: Simulator, name: str = "shop") -> None:
    """It is made, started and removed without a trace."""
    await engine.write_config(config(name))
    assert (await engine.start(name, OWNER)).state is GuestState.RUNNING
    await engine.destroy(name, OWNER)
    assert await engine.get(name) is None


async def test_storage_full(engine: ProxmoxEngine, pve: Simulator) -> None:
    pve.world.fill(STORAGE)
    with pytest.raises(OutOfSpaceError, match=f"(?s)create.*{STORAGE}"):
        await engine.write_config(config())
    assert await engine.get("shop") is None
    assert nothing_is_left(pve)
    pve.world.fill(STORAGE, leave=50 * GIB)
    await lives(engine, pve)


async def test_no_template(engine: ProxmoxEngine, pve: Simulator) -> None:
    with pytest.raises(ImageMissingError, match="no-such-image"):
        await engine.write_config(config(root=RootImage("no-such-image", GIB)))
    assert nothing_is_left(pve)


async def test_an_archive_that_vanishes_from_the_storage_is_uploaded_again(
    engine: ProxmoxEngine, pve: Simulator
) -> None:
    await lives(engine, pve)
    archive = next(volume for volume in pve.world.volumes() if "dsecos-debian" in volume.volid)
    pve.world.remove_volume(archive.volid)
    with pytest.raises(ImageMissingError, match="dsecos-debian"):
        await engine.write_config(config())
    assert await engine.get("shop") is None
    await lives(engine, pve)


async def test_no_bridge(engine: ProxmoxEngine, pve: Simulator) -> None:
    await engine.write_config(config())
    pve.world.remove_bridge("vmbr0")
    with pytest.raises(BridgeMissingError, match="vmbr0"):
        await engine.start("shop", OWNER)
    guest = await engine.get("shop")
    assert guest is not None
    assert guest.state is GuestState.STOPPED
    pve.world.add_bridge("vmbr0")
    assert (await engine.start("shop", OWNER)).state is GuestState.RUNNING


async def test_wrong_token(engines: Engines, pve: Simulator) -> None:
    wrong = engines(token=f"{TOKEN}=00000000-0000-0000-0000-000000000000")
    with pytest.raises(EngineDeniedError, match=TOKEN):
        await wrong.ensure_ready()
    with pytest.raises(EngineDeniedError):
        await wrong.write_config(config())
    assert nothing_is_left(pve)
    await lives(engines(), pve)


@pytest.mark.parametrize(
    ("privilege", "path", "call"),
    [
        ("VM.Allocate", "/vms", lambda engine: engine.write_config(config("other"))),
        ("VM.Config.Memory", "/vms", lambda engine: engine.write_config(config("other"))),
        (
            "Datastore.AllocateSpace",
            f"/storage/{STORAGE}",
            lambda engine: engine.write_config(config("other")),
        ),
        ("SDN.Use", "/sdn/zones/localnetwork", lambda engine: engine.write_config(config("other"))),
        ("VM.PowerMgmt", "/vms", lambda engine: engine.start("shop", OWNER)),
        ("VM.Snapshot", "/vms", lambda engine: engine.snapshot("shop", OWNER, "before")),
        ("VM.Migrate", "/vms", lambda engine: engine.migrate("shop", OWNER, "pve2")),
    ],
)
async def test_a_privilege_is_missing(
    engine: ProxmoxEngine,
    pve: Simulator,
    privilege: str,
    path: str,
    call: Callable[[ProxmoxEngine], Awaitable[object]],
) -> None:
    await engine.write_config(config())
    roles = dict(pve.access.roles)
    for name, granted in roles.items():
        if name.startswith("dsecos-"):
            pve.access.roles[name] = granted - {privilege}
    with pytest.raises(EngineDeniedError) as denied:
        await call(engine)
    assert privilege in str(denied.value)
    assert path in str(denied.value)
    assert await engine.get("other") is None
    pve.access.roles.update(roles)
    await call(engine)


async def test_the_certificate_changed(engines: Engines, pve: Simulator) -> None:
    first = engines()
    await first.write_config(config())
    before = pve.fingerprint
    await first.close()
    pve.renew_certificate()
    with pytest.raises(CertificateChangedError) as changed:
        await engines().start("shop", OWNER)
    assert before in str(changed.value)
    assert pve.fingerprint in str(changed.value), "the new one, to be compared and pinned"
    assert pve.issued("vzstart") == []
    pinned_anew = engines(fingerprint=pve.fingerprint)
    assert (await pinned_anew.start("shop", OWNER)).state is GuestState.RUNNING


async def test_every_id_is_taken(engine: ProxmoxEngine, pve: Simulator) -> None:
    for vmid in VMIDS:
        pve.world.take_vmid(vmid)
    with pytest.raises(IdsExhaustedError, match="20000 to 20009"):
        await engine.write_config(config())
    assert await engine.get("shop") is None
    pve.world.destroy_guest(VMIDS[3])
    await engine.write_config(config())
    guest = await engine.get("shop")
    assert guest is not None
    assert guest.engine_id == str(VMIDS[3])


async def test_deleted_behind_our_back(engine: ProxmoxEngine, pve: Simulator) -> None:
    await engine.write_config(config())
    first = await engine.start("shop", OWNER)
    pve.world.destroy_guest(int(first.engine_id))
    assert await engine.get("shop") is None
    with pytest.raises(NotFoundError, match="shop"):
        await engine.start("shop", OWNER)
    await engine.stop("shop", OWNER, grace=1)
    assert await engine.write_config(config())
    assert (await engine.start("shop", OWNER)).state is GuestState.RUNNING
    assert len(pve.world.guests) == 1


async def test_what_lost_its_marks_is_shown_as_foreign_and_left_alone(
    engine: ProxmoxEngine, pve: Simulator
) -> None:
    await engine.write_config(config())
    guest = await engine.get("shop")
    assert guest is not None
    marks = guest_of(pve, guest.engine_id).config["description"]
    pve.world.change_config(int(guest.engine_id), description="hands off")
    for call in (engine.start("shop", OWNER), engine.destroy("shop", OWNER)):
        with pytest.raises(NotOursError, match="no owner"):
            await call
    pve.world.change_config(int(guest.engine_id), description=marks)
    assert (await engine.start("shop", OWNER)).state is GuestState.RUNNING


async def test_drift_is_seen_by_setting_and_repaired(engine: ProxmoxEngine, pve: Simulator) -> None:
    await engine.write_config(config())
    before = await engine.get("shop")
    assert before is not None
    pve.world.change_config(int(before.engine_id), memory="4096")
    drifted = await engine.get("shop")
    assert drifted is not None
    wanted = engine.settings(config())
    unlike = {key for key, value in wanted.items() if drifted.settings.get(key) != value}
    assert unlike == {"memory"}
    assert drifted.config_digest != engine.digest(config()).full
    assert await engine.write_config(config())
    assert await engine.get("shop") == before


async def test_a_backup_that_takes_too_long(engine: ProxmoxEngine, pve: Simulator) -> None:
    await engine.write_config(config())
    guest = await engine.get("shop")
    assert guest is not None
    pve.world.set_lock(int(guest.engine_id), "backup")
    with pytest.raises(GuestLockedError, match="backup") as locked:
        await engine.start("shop", OWNER)
    assert locked.value.lock == "backup"
    assert pve.issued("vzstart") == [], "no task is begun that would only fail"
    pve.world.set_lock(int(guest.engine_id), "")
    assert (await engine.start("shop", OWNER)).state is GuestState.RUNNING


async def test_the_node_is_away(engine: ProxmoxEngine, pve: Simulator) -> None:
    await engine.write_config(config())
    pve.world.node_down("pve1")
    guest = await engine.get("shop")
    assert guest is not None
    assert guest.state is GuestState.UNKNOWN
    for call in (engine.start("shop", OWNER), engine.destroy("shop", OWNER)):
        with pytest.raises(EngineUnreachableError, match="pve1"):
            await call
    pve.world.node_up("pve1")
    assert (await engine.start("shop", OWNER)).state is GuestState.RUNNING
    assert len(pve.issued("vzstart")) == 1


async def test_an_expired_ticket_is_renewed(engines: Engines, pve: Simulator, clock: ManualClock) -> None:
    by_password = engines(token="", user="root@pam", password="secret")
    await by_password.write_config(config())
    clock.advance(3 * 3600)
    assert (await by_password.start("shop", OWNER)).state is GuestState.RUNNING
    assert len(pve.issued("vzstart")) == 1


class EverySecondWrite(Fault):
    """596, before or after it was done by turns."""

    def __init__(self) -> None:
        self._kinds = itertools.cycle(
            (None, GatewayError(596, done=True), None, GatewayError(596, done=False))
        )
        self._now: Fault | None = None

    def before(self, site: Site) -> None:
        self._now = next(self._kinds)
        if self._now is not None:
            self._now.before(site)

    def after(self, site: Site) -> None:
        if self._now is not None:
            self._now.after(site)


async def test_596_on_every_second_write(engines: Engines, pve: Simulator) -> None:
    engine = engines()
    restless = Faults(rate=1.0, kinds=[EverySecondWrite()])
    pve.faults.choose = restless.choose  # type: ignore[method-assign]
    names = ["one", "two", "three"]
    for name in names:
        for verb in (lambda name: engine.write_config(config(name)), lambda name: engine.start(name, OWNER)):
            await persistently(lambda verb=verb, name=name: verb(name))  # type: ignore[misc]
    assert len(pve.world.guests) == len(names)
    assert len(done(pve, "vzcreate")) == len(done(pve, "vzstart")) == len(names), "nothing was done twice"
    for name in names:
        await persistently(lambda name=name: engine.destroy(name, OWNER))  # type: ignore[misc]
    assert nothing_is_left(pve)
    assert len(done(pve, "vzdestroy")) == len(names)


async def persistently(call: Callable[[], Awaitable[object]]) -> None:
    """As a controller does: again, as long as that may help."""
    for _ in range(10):
        try:
            await call()
        except AdapterError:
            continue
        return
    raise AssertionError("ten times in vain")


def done(pve: Simulator, type_: str) -> list[str]:
    return [task.upid for task in pve.issued(type_) if task.exitstatus == "OK"]


async def test_a_stranger_has_our_name(engine: ProxmoxEngine, pve: Simulator) -> None:
    await engine.write_config(config())
    ours = await engine.get("shop")
    assert ours is not None
    theirs = {
        key: value.replace(OWNER, STRANGER) for key, value in guest_of(pve, ours.engine_id).config.items()
    }
    await engine.destroy("shop", OWNER)
    stranger = pve.world.add_guest(30000, **theirs)
    before = dict(stranger.config)
    with pytest.raises(NotOursError) as refused:
        await engine.write_config(config())
    assert STRANGER in str(refused.value)
    with pytest.raises(NotOursError):
        await engine.destroy("shop", OWNER)
    assert stranger.config == before
    pve.world.destroy_guest(30000)
    await lives(engine, pve)


async def test_a_stranger_has_the_id_that_we_claimed(engine: ProxmoxEngine, pve: Simulator) -> None:
    pve.faults.once("POST", "/nodes/{node}/lxc", GatewayError(595, done=False))
    with pytest.raises(AdapterError):
        await engine.write_config(config())
    claimed = int(str(pve.calls.to("POST", "/nodes/{node}/lxc")[0].parameters["vmid"]))
    stranger = pve.world.take_vmid(claimed)
    before = dict(stranger.config)
    await lives(engine, pve)
    assert pve.world.guest(claimed) is stranger
    assert stranger.config == before


def guest_of(pve: Simulator, engine_id: str) -> Guest:
    found = pve.world.guest(int(engine_id))
    assert found is not None
    return found


# Guests that were there before.

SHOP = {"hostname": "old-shop", "tags": "ann", "description": "Ask Ann.\n", "memory": "1024", "onboot": "1"}


def adoption(**changes: object) -> GuestConfig:
    made = GuestConfig("shop", OWNER, Adopted("105"), None, limits=Limits(memory_bytes=128 * MIB))
    return replace(made, **changes)  # type: ignore[arg-type]


def ask_ann(pve: Simulator) -> Guest:
    """Ann's guest, outside of our range."""
    return pve.world.add_guest(105, "pve1", storage=STORAGE, status="running", **SHOP)


@pytest.mark.parametrize("version", ["8.4", "9.1"])
async def test_a_guest_that_is_in_no_pool_of_ours(tmp_path: Path, version: str) -> None:
    with Simulator(World(), version=version) as pve:
        pve.world.add_pool("dsecos")
        secret = pve.add_token(*TOKEN.split("!"), grants(["pve1"], pool="dsecos"))
        settings = ProxmoxSettings(
            url=pve.url,
            node="pve1",
            token=f"{TOKEN}={secret}",
            fingerprint=pve.fingerprint,
            resource_pool="dsecos",
        )
        engine = make_engine(settings, tmp_path)
        guest = ask_ann(pve)
        with pytest.raises(NotFoundError) as unseen:
            await engine.write_config(adoption())
        for word in ("105", TOKEN, "resource pool dsecos"):
            assert word in str(unseen.value)
        assert guest.config == {**SHOP, "rootfs": guest.config["rootfs"]}
        pve.world.pools["dsecos"].guests.add(105)
        assert await engine.write_config(adoption())
        await engine.stop("shop", OWNER, grace=0)
        await engine.release("shop", OWNER)
        pve.world.pools["dsecos"].guests.discard(105)
        assert list(await engine.list_guests()) == []
        await engine.close()


async def test_an_adopted_guest_that_was_taken_out_of_the_pool_is_not_made_anew(
    engine: ProxmoxEngine, pve: Simulator
) -> None:
    ask_ann(pve)
    await engine.write_config(adoption())
    roles = dict(pve.access.roles)
    for name, granted in roles.items():
        pve.access.roles[name] = granted - {"VM.Audit"}
    assert await engine.get("shop") is None
    with pytest.raises(NotFoundError, match="105"):
        await engine.write_config(adoption())
    pve.access.roles.update(roles)
    guest = await engine.get("shop")
    assert guest is not None
    assert (guest.owner_uid, guest.state) == (OWNER, GuestState.RUNNING)


async def test_an_adopted_guest_was_deleted_behind_our_back(engine: ProxmoxEngine, pve: Simulator) -> None:
    ask_ann(pve)
    await engine.write_config(adoption())
    pve.world.destroy_guest(105)
    assert await engine.get("shop") is None
    with pytest.raises(NotFoundError, match="105"):
        await engine.write_config(adoption())
    with pytest.raises(NotFoundError):
        await engine.start("shop", OWNER)
    await engine.release("shop", OWNER)
    assert nothing_is_left(pve)


@pytest.mark.parametrize("lost", ["tags", "description"])
async def test_an_adopted_guest_of_half_a_mark_is_nobodys_until_somebody_mends_it(
    engine: ProxmoxEngine, pve: Simulator, lost: str
) -> None:
    guest = ask_ann(pve)
    await engine.write_config(adoption())
    whole = dict(guest.config)
    pve.world.change_config(105, **{lost: None})
    before = dict(guest.config)
    found = await engine.get("shop")
    assert found is None or (found.name, found.owner_uid) == ("105/old-shop", None)
    for call in (
        lambda: engine.write_config(adoption()),
        lambda: engine.write_config(adoption(name="other", owner_uid=STRANGER)),
    ):
        with pytest.raises(NotOursError):
            await call()
    for mutation in (
        lambda: engine.stop("shop", OWNER, grace=0),
        lambda: engine.destroy("shop", OWNER),
        lambda: engine.release("shop", OWNER),
    ):
        try:
            await mutation()
        except NotOursError:
            continue
    assert (guest.config, guest.status) == (before, "running"), "nothing was done"
    pve.world.change_config(105, **{lost: whole[lost]})
    assert not await engine.write_config(adoption())
    await engine.release("shop", OWNER)
    assert guest.config["description"].strip() == "Ask Ann."


async def test_an_adoption_without_the_right_to_say_so(engine: ProxmoxEngine, pve: Simulator) -> None:
    guest = ask_ann(pve)
    before = dict(guest.config)
    roles = dict(pve.access.roles)
    for name, granted in roles.items():
        pve.access.roles[name] = granted - {"VM.Config.Options"}
    with pytest.raises(EngineDeniedError, match=r"VM.Config.Options.*/vms"):
        await engine.write_config(adoption())
    assert guest.config == before
    pve.access.roles.update(roles)
    assert await engine.write_config(adoption())


async def test_an_adopted_guest_that_is_protected_is_not_destroyed(
    engine: ProxmoxEngine, pve: Simulator
) -> None:
    guest = ask_ann(pve)
    guest.config["protection"] = "1"
    await engine.write_config(adoption())
    with pytest.raises(IllegalTransitionError, match="protection"):
        await engine.destroy("shop", OWNER)
    assert (pve.world.guest(105), guest.status) == (guest, "running")
    await engine.release("shop", OWNER)
