"""A guest's part is read once, and anew when anything that it is read from is another."""

from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

import pytest
from dsecos_agent.firewall.model import GuestPolicy, ZonePolicy
from dsecos_agent.nodefirewall.reading import GuestPolicies, guest_policy
from dsecos_api import Guest

from ..guests.samples import guest, spec  # noqa: TID252

ZONE = ZonePolicy("dtz1", IPv4Interface("10.20.0.1/24"))
PORT = {"port": 8080, "protocol": "TCP", "from": ["0.0.0.0/0"]}


def version(generation: int = 1, uid: str = "one", **changes: Any) -> Guest:
    network = {**spec()["network"], "address6": "fd00::2", "gateway6": "fd00::1", **changes}
    found = guest(network=network)
    metadata = found.metadata.model_copy(update={"generation": generation, "uid": uid})
    return found.model_copy(update={"metadata": metadata})


def read(known: GuestPolicies, one: Guest, link: str = "dtg1", zone: ZonePolicy = ZONE) -> GuestPolicy:
    assert one.spec.network is not None
    return known.of(link, one, one.spec.network, zone)


def test_the_same_is_read_once() -> None:
    known = GuestPolicies()
    assert read(known, version()) is read(known, version())
    assert read(known, version(), zone=replace(ZONE, transit="dtv1")) is read(known, version())


@pytest.mark.parametrize(
    ("one", "link", "zone"),
    [
        (version(generation=2, ports=[PORT]), "dtg1", ZONE),
        (version(uid="another", address="10.20.0.9"), "dtg1", ZONE),
        (version(), "dtg2", ZONE),
        (version(), "dtg1", replace(ZONE, bridge="dtz2")),
        (version(), "dtg1", replace(ZONE, gateway6=IPv6Interface("fd00::1/64"))),
    ],
    ids=["spec", "another of that name", "link", "zone", "its zone has got IPv6"],
)
def test_another_is_read_anew(one: Guest, link: str, zone: ZonePolicy) -> None:
    known = GuestPolicies()
    before = read(known, version())
    found = read(known, one, link, zone)
    assert one.spec.network is not None
    assert found == guest_policy(link, one, one.spec.network, zone)
    assert found != before


def test_who_is_gone_is_forgotten() -> None:
    known = GuestPolicies()
    before = read(known, version())
    known.keep({before.name})
    assert read(known, version()) is before
    known.keep(set())
    assert read(known, version()) is not before
