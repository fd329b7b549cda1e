"""Two tenants with two zones each, on three nodes with real agents and containers: exactly what was agreed
passes, and what somebody else changes is put back.
"""

import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import permutations, product
from pathlib import Path

import pytest
from dsecos_api.names import DOMAIN
from dsecos_cli.explaining.model import Port

from tests.network.probing import Probe, Servers, answered
from tests.patience import Deadline, until

from ..names.query import Answer, exchange, parse, question  # noqa: TID252 - tests have no package to name
from .harness import BY_EVENT, Object
from .three_nodes import NODES, WORLD, Cluster, Inside, address, three_nodes

PORTS = tuple(Port.parse(text) for text in ("80", "5432", "8080", "53/udp", "icmp"))
EVERYTHING = {f"{port}" for port in PORTS}

Zone = tuple[str, str]
"""Tenant and name."""

WEB, DB = ("acme", "web"), ("acme", "db")
OTHER_WEB, OTHER_DB = ("globex", "web"), ("globex", "db")

NETWORKS: dict[Zone, int] = {WEB: 61, DB: 62, OTHER_WEB: 63, OTHER_DB: 64}
HOMES: dict[Zone, tuple[str, ...]] = {
    WEB: ("n1", "n2", "n3"),
    DB: ("n2", "n3"),
    OTHER_WEB: ("n1", "n3"),
    OTHER_DB: ("n1", "n2"),
}


def peer(zone: Zone, *ports: str, **more: object) -> Object:
    """An entry of spec.peers."""
    rules = [{"port": each.number, "protocol": each.transport.value} for each in map(Port.parse, ports)]
    return {"namespace": zone[0], "zone": zone[1], **({"ports": rules} if rules else {}), **more}


PEERS: dict[Zone, list[Object]] = {
    WEB: [peer(WEB), peer(DB, outboundOnly=True), peer(OTHER_WEB, "80")],
    DB: [peer(WEB, "5432")],
    OTHER_WEB: [peer(WEB, "8080", "53/udp")],
    OTHER_DB: [peer(DB)],  # which does not name it
}
AGREED: dict[tuple[Zone, Zone], set[str]] = {
    (WEB, WEB): EVERYTHING,
    (WEB, DB): {"TCP 5432"},
    (OTHER_WEB, WEB): {"TCP 80"},
    (WEB, OTHER_WEB): {"TCP 8080", "UDP 53"},
}
"""From, to, what."""


class Guest:
    """A running guest."""

    def __init__(self, cluster: Cluster, zone: Zone, found: Object) -> None:
        network = found["spec"]["network"]
        self.zone = zone
        self.found = found
        self.node = found["metadata"]["namespace"].removeprefix("dsecos-node-")
        self.name = "{name}.{namespace}".format(**found["spec"]["stackRef"])
        self.gateways = (ip_address(network["gateway"]), ip_address(network["gateway6"]))
        self.addresses = (ip_address(network["address"]), ip_address(network["address6"]))
        self.space: Inside = cluster.space(found)

    def __str__(self) -> str:
        return f"{'/'.join(self.zone)} on {self.node}"


def zone_object(cluster: Cluster, zone: Zone, peers: list[Object]) -> Object:
    number = NETWORKS[zone]
    egress = {"mode": "NAT" if zone == OTHER_WEB else "Deny"}
    return cluster.zone(*zone, f"10.{number}.0.0/24", f"fd00:{number}::/64", peers=peers, egress=egress)


@pytest.fixture(scope="module")
def cluster(images: Path) -> Iterator[Cluster]:
    with three_nodes(images) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def guests(cluster: Cluster) -> Iterator[list[Guest]]:
    """One guest of each zone on each of the zone's nodes."""
    for tenant in ("acme", "globex"):
        cluster.add_tenant(tenant)
    cluster.apply(*(zone_object(cluster, zone, peers) for zone, peers in PEERS.items()))
    wanted = {(zone, node): (zone[0], f"{zone[1]}-{node}") for zone, homes in HOMES.items() for node in homes}
    cluster.apply(*(cluster.stack(*stack, zone[1], node) for (zone, node), stack in wanted.items()))
    found = cluster.wait_network(*wanted.values())
    cluster.wait_zones(*PEERS)
    guests = [Guest(cluster, zone, found[stack]) for (zone, _), stack in wanted.items()]
    yield guests
    for guest in guests:
        guest.space.close()


@pytest.fixture
def servers(cluster: Cluster, guests: list[Guest]) -> Iterator[Servers]:
    """Every guest, every node and the world listen at every port."""
    servers = Servers()
    for guest in guests:
        servers.listen(guest.space, guest.addresses, PORTS)
    around = {WORLD: Inside(cluster.switch.pid)}
    around |= {address(node): Inside(machine.pid) for node, machine in cluster.machines.items()}
    for text, space in around.items():
        servers.listen(space, [ip_address(text)], PORTS)
    yield servers
    servers.close()
    for space in around.values():
        space.close()


def crossing(one: Guest, other: Guest) -> list[Probe]:
    return [
        Probe(f"{one} to {other} by {port}, IPv{target.version}", one.space, target, port)
        for target in other.addresses
        for port in PORTS
    ]


def differing(expected: dict[Probe, bool], servers: Servers) -> list[str]:
    """What passes and should not, or the other way round."""
    passed = answered(list(expected), expected, servers)
    return [
        f"{probe.name}: {'passed' if probe in passed else 'denied'}"
        for probe, wanted in expected.items()
        if (probe in passed) is not wanted
    ]


def allowed(guests: list[Guest], agreed: dict[tuple[Zone, Zone], set[str]]) -> dict[Probe, bool]:
    return {
        probe: f"{probe.port}" in agreed.get((one.zone, other.zone), set())
        for one, other in permutations(guests, 2)
        for probe in crossing(one, other)
    }


def test_exactly_what_was_agreed_passes_between_guests(guests: list[Guest], servers: Servers) -> None:
    expected = allowed(guests, AGREED)
    assert {probe.target.version for probe, wanted in expected.items() if wanted} == {4, 6}
    assert differing(expected, servers) == []


def test_a_guest_reaches_the_world_only_by_its_egress_and_no_node_ever(
    guests: list[Guest], servers: Servers
) -> None:
    expected: dict[Probe, bool] = {}
    for guest in guests:
        for text in (WORLD, *map(address, NODES)):
            for port in PORTS:
                probe = Probe(f"{guest} to {text} by {port}", guest.space, ip_address(text), port)
                expected[probe] = text == WORLD and guest.zone == OTHER_WEB
    assert differing(expected, servers) == []


def test_an_agreement_that_one_side_takes_back_ends_at_once_and_comes_back(
    cluster: Cluster, guests: list[Guest], servers: Servers
) -> None:
    without = {pair: ports for pair, ports in AGREED.items() if DB not in pair}
    cluster.apply(zone_object(cluster, DB, []))
    try:
        until(lambda: not differing(allowed(guests, without), servers), 30, what="the agreement has ended")
    finally:
        cluster.apply(zone_object(cluster, DB, PEERS[DB]))
    until(lambda: not differing(allowed(guests, AGREED), servers), 30, what="the agreement is back")


def test_a_guest_keeps_its_addresses_when_it_is_made_again_elsewhere(
    cluster: Cluster, guests: list[Guest]
) -> None:
    names = [guest.found["spec"]["stackRef"] for guest in guests]
    told = [cluster.get("stack", ref["name"], ref["namespace"])["status"] for ref in names]
    assert [(each["address"], each["address6"]) for each in told] == [
        tuple(map(str, guest.addresses)) for guest in guests
    ]
    assert len({text for guest in guests for text in map(str, guest.addresses)}) == 2 * len(guests)


def resolved(guest: Guest, name: str) -> Answer:
    """What the guest's zone says of a name of DOMAIN, by both protocols and of both families."""
    answers = []
    for gateway, kind, stream in product(guest.gateways, ("A", "AAAA"), (False, True)):
        family = socket.AF_INET6 if gateway.version == 6 else socket.AF_INET
        with guest.space.entered():
            made = socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        with made:
            packet = question(f"{name}.{DOMAIN}", kind)
            answers.append((kind, parse(exchange(made, packet, str(gateway)))))
    assert len({answer.code for _, answer in answers}) == 1, answers
    assert all(len({answer for of, answer in answers if of == kind}) == 1 for kind in ("A", "AAAA")), answers
    return Answer(answers[0][1].code, frozenset().union(*(answer.records for _, answer in answers)))


def test_guests_know_the_names_of_those_that_they_may_connect_to_and_no_others(
    cluster: Cluster, guests: list[Guest]
) -> None:
    def wrong() -> Iterator[str]:
        for one, other in permutations(guests, 2):
            known = one.zone == other.zone or (one.zone, other.zone) in AGREED
            wanted = Answer("NOERROR", frozenset(map(str, other.addresses))) if known else Answer("NXDOMAIN")
            for name in (other.name, f"web.{other.name}"):
                if (said := resolved(one, name)) != wanted:
                    yield f"{one} asks for {name}: {said}"

    cluster.wait(lambda: next(wrong(), None) is None, "names are as agreed", 30)
    assert list(wrong()) == []


def test_other_names_are_refused_to_who_is_not_let_out(guests: list[Guest]) -> None:
    for guest in guests:
        if guest.zone != OTHER_WEB:
            with guest.space.entered():
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with made:
                said = exchange(made, question("example.com", "A"), str(guest.gateways[0]))
            assert parse(said).code == "REFUSED"


SHOWN = {
    "forwarding": "bridge fdb show dev $T | sort",
    "neighbours": "ip neigh show dev $T nud permanent; ip -6 neigh show dev $T nud permanent",
    "routes": "ip route show dev $T; ip -6 route show dev $T | grep -v fe80",
    "bridge": "ip -br addr show dev $B scope global; cat /proc/sys/net/ipv6/conf/$B/mtu",
    "rules": "for f in inet bridge; do nft -s list table $f $I | sed -n '/chain /,$p'; done",
    "exposed": "nft list set inet $I exposed",
}
"""What is to be the same afterwards, on the node. $T and $B are links of the zone, $I is the instance."""

TAMPERING = {
    "an FDB entry points elsewhere": (
        "forwarding",
        f"set -- $(bridge fdb show dev $T); bridge fdb replace $1 dev $T dst {WORLD}",
    ),
    "everything unknown is sent elsewhere": (
        "forwarding",
        f"bridge fdb append 00:00:00:00:00:00 dev $T dst {WORLD}",
    ),
    "neighbours are forgotten": ("neighbours", "ip neigh flush dev $T nud permanent"),
    "routes are deleted": ("routes", "ip route flush dev $T; ip -6 route flush dev $T"),
    "the transit link is deleted": ("routes", "ip link del $T"),
    "the transit link is down": ("routes", "ip link set $T down"),
    "the bridge is deleted": ("bridge", "ip link del $B"),
    "the bridge's MTU is another": ("bridge", "ip link set $B mtu 1400"),
    "the gateway's address is deleted": ("bridge", "ip -4 addr flush dev $B"),
    "a rule accepts everything": ("rules", "nft insert rule inet $I forward accept"),
    "a chain is flushed": ("rules", "nft flush chain inet $I forward"),
    "a port is opened": ("exposed", "nft add element inet $I exposed { 10.61.0.2 . tcp . 22 }"),
    "a table is deleted": ("rules", "nft delete table bridge $I"),
}


def test_what_somebody_changes_is_put_back(
    cluster: Cluster, guests: list[Guest], servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    bridge, transit = cluster.links("n1", *WEB)
    names = f"B={bridge} T={transit} I={cluster.nodes['n1'].settings.instance}; "
    seconds: dict[str, list[float]] = {}

    def look(what: str) -> str:
        return cluster.on("n1", "sh", "-c", names + SHOWN[what], check=False)

    def undone(what: str, before: str) -> None:
        now = look(what)
        while now != before:
            assert not deadline.passed(), f"{name}:\n{before}\nnow:\n{now}\n{cluster.nodes['n1'].log_tail()}"
            now = look(what)

    for name, (what, command) in TAMPERING.items():
        before = look(what)
        for _ in range(3):
            begun = time.monotonic()
            cluster.on("n1", "sh", "-ec", names + command)
            deadline = Deadline(BY_EVENT)
            undone(what, before)
            seconds.setdefault(name, []).append(time.monotonic() - begun)
    every = [each for times in seconds.values() for each in times]
    with capsys.disabled():
        print(f"\ntampering undone: median {statistics.median(every):.2f} s, worst {max(every):.2f} s")
        for name, times in seconds.items():
            print(f"  {name}: {', '.join(f'{each:.2f}' for each in times)}")
    assert differing(allowed(guests, AGREED), servers) == []


def test_a_guest_gets_no_packet_before_its_rules_are_in_force(cluster: Cluster, guests: list[Guest]) -> None:
    wanted = "10.61.0.200"
    flood = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "while True:\n"
        "    try: s.sendto(b'x', ('" + wanted + "', 9))\n"
        "    except OSError: pass\n"
    )
    subprocess.run(
        cluster.switch.argv("ip", "route", "replace", wanted, "via", address("n1")),
        check=True,
        capture_output=True,
    )
    attacker = subprocess.Popen(cluster.switch.argv("nice", "-n", "15", "python3", "-c", flood))
    try:
        cluster.apply(cluster.stack("acme", "fresh", "web", "n1", address=wanted))
        found = cluster.wait_network(("acme", "fresh"))["acme", "fresh"]
        space = cluster.space(found)
        with space.entered():
            lines = [line.split() for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()]
        space.close()
    finally:
        attacker.kill()
        attacker.wait()
    names, values = [line for line in lines if line[0] == "Udp:"]
    udp = dict(zip(names[1:], map(int, values[1:]), strict=True))
    assert (udp["NoPorts"], udp["InDatagrams"]) == (0, 0)
    counters = cluster.on(
        "n1", "nft", "list", "counters", "table", "inet", cluster.nodes["n1"].settings.instance
    )
    denied = counters.partition(f"ingress-{found['metadata']['name']}")[2].split()
    assert int(denied[denied.index("packets") + 1]) > 0, "the flood did arrive"
