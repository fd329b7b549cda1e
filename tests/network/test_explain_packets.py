"""What `dsecos explain` says is what happens to real packets.

Between all guests, gateways, nodes and the outside of clouds of any shape, by TCP, UDP and ICMP, over both
families of addresses.
"""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsecos_cli.explaining.judge import judge
from dsecos_cli.explaining.model import (
    Address,
    Elsewhere,
    Host,
    NotJudgedError,
    Place,
    Port,
    Transport,
    networks,
    nodes_of,
)
from dsecos_cli.explaining.objects import NAME_SERVER, REGISTRY_PORT, Objects
from hypothesis import HealthCheck, Phase, given, settings

from tests.amount import amount
from tests.network.cases import FAR, HOST_PORTS, METADATA, OUTSIDE, PORTS, Cloud, clouds, strangers, two_zones
from tests.network.fabric import SERVED, Fabric, addresses, addresses_of, fabric
from tests.network.namespaces import Space
from tests.network.probing import Probe, answered

ICMP = Port(Transport.ICMP)
TCP80 = SERVED[0]
EACH = [*SERVED, ICMP]
AT_NODES = [TCP80, ICMP]
HOST_SIDE = [Port(transport, port) for transport in (Transport.TCP, Transport.UDP) for port in HOST_PORTS]
REGISTRY = Port(Transport.TCP, REGISTRY_PORT)


@pytest.fixture(scope="module", autouse=True)
def room_for_sockets() -> Iterator[None]:
    """Each probe has one, all at the same time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@settings(
    max_examples=amount(10, of_all=30),
    # To shrink takes minutes, and what is drawn is small.
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(cloud=clouds())
def test_real_packets_fare_as_explained(cloud: Cloud) -> None:
    with tempfile.TemporaryDirectory() as home, fabric(cloud, Path(home)) as world:
        assert disagreements(cloud, world) == []


def test_no_guest_gets_to_another_zone_by_a_router_outside(tmp_path: Path) -> None:
    cloud = strangers()
    with fabric(cloud, tmp_path) as world:
        assert disagreements(cloud, world) == []


def disagreements(cloud: Cloud, world: Fabric) -> list[str]:
    """Where packets do not fare as explained."""
    expected = dict(questions(cloud, world))
    seen = answered(list(expected), expected, world.servers)
    return [
        f"{probe.name}: {'passes' if probe in seen else 'is dropped'}, and explain says otherwise"
        for probe, passes in expected.items()
        if (probe in seen) is not passes
    ]


@dataclass(frozen=True)
class Sender:
    """Who tries."""

    name: str
    space: Space
    end: Place | Host | Elsewhere
    versions: frozenset[int]
    source: Address | None = None


def test_what_is_dropped_is_dropped_by_the_rules(tmp_path: Path) -> None:
    """Without them every packet finds its way, so that silence says something."""
    cloud = two_zones(ports=[PORTS[0]])
    with fabric(cloud, tmp_path) as world:
        expected = {
            probe: passes
            for probe, passes in questions(cloud, world)
            if probe.space in world.guests.values() and probe.port in EACH
        }
        reachable = addresses(*OUTSIDE, *FAR, *METADATA)
        reachable += [address for guest in cloud.guests for address in addresses_of(guest)]
        denied = [probe for probe in expected if not expected[probe] and probe.target in reachable]
        assert answered(list(expected), expected, world.servers) == {p for p in expected if expected[p]}
        for space in world.nodes.values():
            space.feed(["nft", "-f", "-"], ["flush ruleset"])
        assert answered(denied, dict.fromkeys(denied, True), world.servers) == set(denied)
    assert len(denied) > 50


def questions(cloud: Cloud, world: Fabric) -> Iterator[tuple[Probe, bool]]:
    """Everything that is tried, and whether explain says that it passes."""
    objects = cloud.objects
    for sender in senders(cloud, world):
        for target, ports in targets(cloud, sender):
            if target.version not in sender.versions:
                continue
            for port in ports:
                passes = explained(objects, sender, target, port)
                if passes is not None:
                    name = f"{sender.name} -> {target} {port}"
                    yield Probe(name, sender.space, target, port, sender.source), passes


def senders(cloud: Cloud, world: Fabric) -> Iterator[Sender]:
    objects = cloud.objects
    for guest in cloud.guests:
        own = addresses_of(guest)
        end = objects.at(own[0])
        assert isinstance(end, Place)
        yield Sender(f"{end} {own[0]}", world.guests[guest.name], end, frozenset(a.version for a in own))
    for host in objects.hosts.values():
        yield Sender(f"{host}", world.nodes[host.name], host, frozenset({4, 6}))
    for address in addresses(*OUTSIDE, *FAR):
        end = Elsewhere(address)
        yield Sender(f"outside {address}", world.outside, end, frozenset({address.version}), address)


def targets(cloud: Cloud, sender: Sender) -> Iterator[tuple[Address, list[Port]]]:
    objects, end = cloud.objects, sender.end
    for place in objects.places:
        # A node on which the zone is not has no way to the zone's guests in this network.
        if not isinstance(end, Host) or place.zone is None or end.name in nodes_of(place.zone):
            yield from ((address, EACH) for address in place.addresses)
    for host in objects.hosts.values():
        yield from ((address, [*AT_NODES, *HOST_SIDE]) for address in host.addresses)
    if isinstance(end, Place):
        yield from ((address, EACH) for address in addresses(*OUTSIDE, *FAR))
        yield from ((address, [ICMP, TCP80]) for address in addresses(*METADATA))
        for zone in cloud.zones:
            for address in addresses(zone.status.gateway, zone.status.gateway6):
                yield address, [ICMP, REGISTRY, *NAME_SERVER, TCP80]
            yield from ((network[200], [ICMP]) for network in networks(zone))


def explained(objects: Objects, sender: Sender, target: Address, port: Port) -> bool | None:
    """What explain says; None: it does not judge that."""
    try:
        verdict = judge(objects, sender.end, objects.at(target), port)
    except NotJudgedError:
        return None
    return any(each.allowed for each in verdict.judgements if each.version in (0, target.version))
