"""What the agent asks of an engine to take a guest over and to give it up, and what it remembers of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.engines.model import GuestConfig, GuestState, ObservedGuest
from dsecos_agent.guests import actions as do
from dsecos_agent.guests.act import Actor, Target
from dsecos_agent.guests.desired import Wanted
from dsecos_agent.guests.lives import Lives
from dsecos_agent.guests.record import Record, Records, Removal
from dsecos_agent.guests.view import HostView
from dsecos_agent.node.boot import Boot
from dsecos_api.types import DeletionPolicy

from .outside import ID
from .samples import UID, wish

NAME = "shop-12345678"


class Calls:
    """An engine that has one stopped guest, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.missing = False

    async def get(self, name: str) -> ObservedGuest:
        return ObservedGuest(name, UID, GuestState.STOPPED, None, "d", None, None, adopted=True)

    async def write_config(self, config: GuestConfig) -> bool:
        if self.missing:
            raise NotFoundError("there is no guest 104")
        self.asked.append("write")
        return True

    async def release(self, name: str, owner_uid: str) -> None:
        self.asked.append(f"release {name}")

    async def forget(self, name: str) -> None:
        self.asked.append(f"forget {name}")

    async def start(self, name: str, owner_uid: str) -> None:
        self.asked.append(f"start {name}")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "guests")


@pytest.fixture
def engine() -> Calls:
    return Calls()


@pytest.fixture
def actor(engine: Calls, records: Records, tmp_path: Path) -> Actor:
    unused: Any = None
    return Actor(
        engine=cast("Any", engine),
        pools={},
        links=unused,
        firewall=unused,
        records=records,
        lives=Lives(records, "boot-1"),
        bring_ups=cast("Any", SimpleNamespace(forget=lambda _: None)),
        view=HostView({}, unused),
        registry_port=5001,
        shared=tmp_path / "shared",
        stop_grace=1.0,
    )


def adopting(**changes: Any) -> Wanted:
    return wish(**{"adopt": ID, "deletionPolicy": "Orphan", "startup": {"order": 7}, **changes})


def target(wanted: Wanted) -> Target:
    return Target(wanted.name, wanted.owner_uid, wanted)


async def test_what_was_taken_over_is_remembered(actor: Actor, records: Records) -> None:
    wanted = adopting()
    digest = wanted.digest.full
    await actor.act(target(wanted), do.Adopt(wanted.config, digest))
    found = records.get(NAME)
    assert found is not None
    assert (found.adopted, found.applied) == (True, (digest,))
    assert (found.autostart, found.order) == (True, 7), "it is started at boot like others"
    await actor.act(target(wanted), do.WriteConfig(wanted.config, digest))
    found = records.get(NAME)
    assert found is not None
    assert found.adopted


async def test_what_could_not_be_taken_over_is_not_remembered_as_such(
    actor: Actor, engine: Calls, records: Records
) -> None:
    engine.missing = True
    wanted = adopting()
    with pytest.raises(NotFoundError):
        await actor.act(target(wanted), do.Adopt(wanted.config, wanted.digest.full))
    found = records.get(NAME)
    assert found is not None
    assert not found.adopted


async def test_it_is_given_up_by_its_name_and_forgotten(
    actor: Actor, engine: Calls, records: Records
) -> None:
    wanted = adopting(deleting=True)
    for action in (do.BeginRemoval(wanted.removal), do.Release(), do.EndRemoval(), do.Forget(None)):
        await actor.act(target(wanted), action)
    assert engine.asked == [f"release {NAME}", f"forget {NAME}"]
    assert records.names() == []


@pytest.mark.parametrize(
    ("changes", "started"),
    [
        ({}, True),
        ({"autostart": False}, False),
        ({"owner_uid": "another"}, False),
        ({"adopted": False}, False),
    ],
)
async def test_at_boot_it_needs_no_rules_of_ours(
    engine: Calls, records: Records, changes: dict[str, Any], started: bool
) -> None:
    records.put(NAME, replace(Record(UID, adopted=True, autostart=True), **changes))
    nothing = SimpleNamespace(policy=SimpleNamespace(guests=()), bridges=(), transits=())
    boot = Boot(
        cast("Any", engine),
        cast("Any", SimpleNamespace(ensure_forwarding=_nothing)),
        cast("Any", SimpleNamespace(restore=_nothing, last_known=nothing)),
        records,
        Lives(records, "boot-2"),
        parallel=1,
        sleep=_nothing,
    )
    await boot.run(lambda: False, 0.0, _nothing)
    assert engine.asked == ([f"start {NAME}"] if started else [])


async def _nothing(*_: object, **__: object) -> None:
    pass


def test_a_removal_says_that_it_was_taken_over_also_to_the_next_process(tmp_path: Path) -> None:
    record = Record(UID, adopted=True, removal=Removal(DeletionPolicy.RETAIN, None, (), True))
    Records(tmp_path).put(NAME, record)
    assert Records(tmp_path).get(NAME) == record
