"""What is an orphan, and what is not."""

from dataclasses import replace
from pathlib import Path

from dsecos_agent.engines.model import GuestState, ObservedGuest
from dsecos_agent.guests.leftovers import Orphan, orphans
from dsecos_agent.guests.record import Fate, Records, Removal
from dsecos_agent.links.protocol import ObservedPort
from dsecos_agent.storage.protocol import Dataset, DatasetKind
from dsecos_agent.zones.naming import port_name
from dsecos_api.types import DeletionPolicy

from .samples import UID


def container(name: str, owner: str | None = UID) -> ObservedGuest:
    return ObservedGuest(name, owner, GuestState.RUNNING, 1, "x", "x", None)


def disk(name: str, owner: str | None = UID) -> Dataset:
    return Dataset(DatasetKind.GUEST, name, owner, "abc", None)


def port(name: str) -> ObservedPort:
    return ObservedPort(port_name("dt", name), "dtz1", isolated=True, up=True)


def found(records: Records, *known: str, **things: object) -> list[Orphan]:
    all_of = {"engine": (), "datasets": (), "ports": (), **things}
    return orphans(known, records=records, port_of=lambda name: port_name("dt", name), **all_of)  # type: ignore[arg-type]


def test_what_has_an_object_is_none(tmp_path: Path) -> None:
    things = {"engine": [container("a")], "datasets": [disk("a")], "ports": [port("a")]}
    assert found(Records(tmp_path), "a", **things) == []
    assert [orphan.kind for orphan in found(Records(tmp_path), **things)] == ["container", "disk", "port"]


def test_what_was_kept_on_purpose_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.update("a", UID, fate=Fate.ORPHANED)
    records.update("b", UID, removal=Removal(DeletionPolicy.DELETE, "default"))
    things = {"engine": [container("a"), container("b")], "datasets": [disk("a")], "ports": [port("a")]}
    assert found(records, **things) == []


def test_what_is_not_ours_is_none(tmp_path: Path) -> None:
    assert found(Records(tmp_path), engine=[container("a", None)], datasets=[disk("b", None)]) == []


def test_kept_volumes_and_templates_are_none(tmp_path: Path) -> None:
    volume = Dataset(DatasetKind.VOLUME, "acme/shop/pgdata", UID, None, None)
    template = Dataset(DatasetKind.TEMPLATE, "abc", None, None, None)
    assert found(Records(tmp_path), datasets=[volume, template]) == []


def test_what_is_on_another_node_of_the_engine_is_none(tmp_path: Path) -> None:
    there = replace(container("a"), engine_node="pve2")
    assert found(Records(tmp_path), engine=[there], engine_node="pve1") == []
    assert found(Records(tmp_path), engine=[there], engine_node="pve2") == [Orphan("container", "a")]


def test_one_that_was_taken_over_is_one_like_others(tmp_path: Path) -> None:
    taken = replace(container("a"), engine_id="104", adopted=True)
    assert found(Records(tmp_path), engine=[taken]) == [Orphan("container", "a")]
    assert found(Records(tmp_path), "a", engine=[taken]) == []
