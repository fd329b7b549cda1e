"""Which zones look again when something changes, and which do not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import pytest
from dsecos_api import KubeObject, NetworkZone
from dsecos_api.names import attachment_name
from dsecos_operator.zones.wakeups import WakeUps
from dsecos_runtime import GUEST, NETWORK_ZONE, NODE, STACK, Cache, Key, Resource
from dsecos_runtime.store import Change

from .objects import guest, naming, peer, placed, stack, zone


def spanning(number: int) -> dict[str, Any]:
    """Of a zone that spans nodes and has this id."""
    return {"encapsulation": {"type": "vxlan"}, "status": {"gateway": "10.20.0.1", "id": number}}


@dataclass
class Zones:
    """A cache that holds zones, and the keys of what else there is."""

    zones: list[NetworkZone]
    others: frozenset[Key] = frozenset()

    def list(self, _: Resource[Any]) -> list[NetworkZone]:
        """All."""
        return self.zones

    def get(self, _: Resource[Any], key: Key) -> NetworkZone | Key | None:
        """One."""
        if key in self.others:
            return key
        return next((each for each in self.zones if Key.of(each) == key), None)


ZONES = [
    zone(**spanning(1), **naming("front")),
    zone("10.21.0.0/24", name="front", **spanning(2), **naming("backend")),
    zone("10.22.0.0/24", name="fan", **spanning(3), **naming("backend")),
    zone("10.23.0.0/24", name="lone", **spanning(4)),
    zone("10.24.0.0/24", name="local", **naming("backend")),
    zone("10.25.0.0/24", "fd00::/64", name="dual"),
    zone("10.26.0.0/24", name="plain"),
    zone("10.28.0.0/24", name="served", **naming("guarded", outboundOnly=True)),
    zone("10.29.0.0/24", name="guarded", **naming("served")),
]


def woken(resource: Resource[Any], old: KubeObject | None, new: KubeObject | None, *there: Key) -> set[str]:
    """Names of the zones that look again. `there`: attachments and Guests."""
    change = Change(Key.of(new or old), old, new)
    found: set[Key] = set()
    for each in WakeUps(cast(Cache, Zones(ZONES, frozenset(there)))).inputs():
        if each.resource == resource:
            found |= each.woken(change)
    return {each.name for each in found}


def changed(this: KubeObject, **status: Any) -> Any:
    """The object with another status."""
    found = cast(Any, this)
    return found.model_copy(update={"status": found.status.model_copy(update=status)})


def test_a_stack_that_moves_wakes_its_zone_and_those_that_its_zone_names() -> None:
    before = placed("shop", "node-1", "10.20.0.2")
    assert woken(STACK, before, placed("shop", "node-2", "10.20.0.2")) == {"backend", "front"}
    assert woken(STACK, None, before) == woken(STACK, before, None) == {"backend", "front"}


def test_a_stack_of_a_local_zone_wakes_that_one_alone() -> None:
    before = placed("shop", "node-1", "10.24.0.2", zone="local")
    assert woken(STACK, before, placed("shop", "node-2", "10.24.0.2", zone="local")) == {"local"}


def test_a_stack_wakes_the_zones_whose_guests_may_connect_to_it() -> None:
    before = placed("shop", "node-1", "10.29.0.2", zone="guarded")
    assert woken(STACK, before, None) == {"guarded", "served"}
    assert woken(GUEST, guest(before, "node-1"), None) == {"guarded", "served"}
    before = placed("shop", "node-1", "10.28.0.2", zone="served")
    assert woken(STACK, before, None) == {"served"}


def test_a_first_place_where_the_zone_is_already_is_told_with_the_guest() -> None:
    before, after = stack(), placed("shop", "node-1", "10.20.0.2")
    its = guest(after, "node-1")
    attached = Key(its.namespace, attachment_name("acme", "backend"))
    both = {"backend", "front"}
    assert woken(STACK, before, after) == both, "a node gets the zone before the guest needs it"
    assert woken(STACK, before, after, attached) == set()
    assert woken(GUEST, None, its, attached) == both
    assert woken(STACK, before, after, attached, Key.of(its)) == both, "nothing follows"
    assert woken(STACK, after, placed("shop", "node-2", "10.20.0.2"), attached) == both


def test_a_guest_with_other_services_wakes_and_one_with_other_images_does_not() -> None:
    shop = placed("shop", "node-1", "10.20.0.2")
    documents: list[dict[str, Any]] = [
        {"web": {"image": "a"}},
        {"web": {"image": "b"}},
        {"web": {}, "db": {}},
    ]
    one, same, other = (guest(shop, "node-1", json.dumps({"services": each})) for each in documents)
    assert woken(GUEST, one, same) == set()
    assert woken(GUEST, same, other) == {"backend", "front"}


def test_what_a_stack_or_a_guest_reports_wakes_nobody() -> None:
    shop = placed("shop", "node-1", "10.20.0.2")
    assert woken(STACK, shop, changed(shop, endpoints=["http://192.0.2.1:80"])) == set()
    its = guest(shop, "node-1")
    assert woken(GUEST, its, changed(its, epoch=1)) == set()
    resized = its.model_copy(update={"spec": its.spec.model_copy(update={"epoch": 2})})
    assert woken(GUEST, its, resized) == set()
    assert woken(GUEST, its, None) == {"backend", "front"}


def test_a_node_wakes_zones_that_ask_something_of_it_if_that_changes() -> None:
    before = peer(1)
    asking = {"backend", "front", "fan", "lone", "dual"}
    assert woken(NODE, before, peer(1, tunnel="192.0.2.9")) == asking
    assert woken(NODE, before, peer(1, tunnel_mtu=9000)) == asking
    assert woken(NODE, before, peer(1, capabilities=["container/Adopt", "zone/ipv6"])) == asking
    assert woken(NODE, before, peer(1, ready=False)) == set()
    of_engine = [*before.status.capabilities, "container/Copy"]
    assert woken(NODE, before, peer(1, capabilities=of_engine)) == set()


def test_a_zone_wakes_those_that_it_names_and_those_that_name_it() -> None:
    (this, *_) = ZONES
    quiet = this.model_copy(update={"spec": this.spec.model_copy(update={"peers": []})})
    assert woken(NETWORK_ZONE, this, quiet) == {"backend", "front", "fan", "local"}
    assert woken(NETWORK_ZONE, this, changed(this, gateway=None)) == {"front", "fan", "local"}
    assert woken(NETWORK_ZONE, this, changed(this, mtu=1300)) == set()


def test_a_zone_that_goes_wakes_those_that_wait_for_its_network_or_its_id() -> None:
    gone = zone("10.26.0.0/25", name="gone", **spanning(7))
    wishing = zone("10.27.0.0/24", name="wishing", encapsulation={"type": "vxlan", "id": 7})
    ZONES.append(wishing)
    try:
        assert woken(NETWORK_ZONE, gone, None) == {"gone", "plain", "wishing"}
    finally:
        ZONES.remove(wishing)


@pytest.mark.parametrize(
    ("of", "looking"), [("vlan", {"gone", "plain", "waiting"}), ("vxlan", {"gone", "plain"})]
)
def test_a_zone_that_goes_wakes_those_of_its_space_that_found_no_id_free(of: str, looking: set[str]) -> None:
    gone = zone("10.26.0.0/25", name="gone", status={"id": 3000}, encapsulation={"type": of})
    waiting = zone("10.27.0.0/24", name="waiting", encapsulation={"type": "vlan"})
    having = zone("10.27.1.0/24", name="having", encapsulation={"type": "vlan"}, status={"id": 3001})
    ZONES.extend([waiting, having])
    try:
        assert woken(NETWORK_ZONE, gone, None) == looking
    finally:
        ZONES.remove(waiting)
        ZONES.remove(having)
