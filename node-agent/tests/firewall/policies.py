"""Any policy that is valid, for property tests."""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from dsecos_agent.firewall.model import (
    L4,
    Crossing,
    EgressMode,
    EgressRule,
    ExposedPort,
    GuestPolicy,
    Policy,
    Tunnel,
    ZonePolicy,
)
from dsecos_agent.links.protocol import Encapsulation
from hypothesis import strategies as st

ports = st.integers(1, 65535)
protocols = st.sampled_from(L4)
port_sets = st.frozensets(st.tuples(protocols, ports), max_size=3)


@st.composite
def networks4(draw: st.DrawFn) -> IPv4Network:
    length = draw(st.integers(0, 32))
    return IPv4Network((_beginning(draw, 32, length), length))


@st.composite
def networks6(draw: st.DrawFn) -> IPv6Network:
    length = draw(st.integers(0, 128))
    return IPv6Network((_beginning(draw, 128, length), length))


def _beginning(draw: st.DrawFn, bits: int, length: int) -> int:
    return draw(st.integers(0, 2**length - 1)) << (bits - length)


networks = networks4() | networks6()


@st.composite
def crossings(draw: st.DrawFn) -> Crossing:
    """Often between networks that overlap those of others: around 10.0.0.0 and fd00::."""
    near4 = st.integers(8, 24).map(lambda length: IPv4Network((0x0A000000, length)))
    near6 = st.integers(16, 64).map(lambda length: IPv6Network((0xFD << 120, length)))
    four, six = st.one_of(networks4(), near4), st.one_of(networks6(), near6)
    source, destination = draw(st.one_of(st.tuples(four, four), st.tuples(six, six)))
    return Crossing(source, destination, draw(port_sets))


@st.composite
def zones(draw: st.DrawFn, number: int) -> ZonePolicy:
    return ZonePolicy(
        bridge=f"dtz{number:08x}",
        gateway=IPv4Interface(f"10.{number}.0.1/16"),
        egress=draw(st.sampled_from(EgressMode)),
        egress_to=tuple(draw(st.lists(st.builds(EgressRule, networks, port_sets), max_size=4))),
        gateway6=draw(st.sampled_from([None, IPv6Interface(f"fd00:{number}::1/64")])),
        transit=draw(st.sampled_from([None, f"dtv{number:08x}"])),
        encapsulation=draw(st.sampled_from(Encapsulation)),
        senders=tuple(f"02:00:00:00:01:{each:02x}" for each in range(draw(st.integers(0, 3)))),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    found = tuple(draw(zones(number)) for number in range(draw(st.integers(0, 3))))
    taken = {(L4.UDP, 4789)}
    guests = []
    for number in range(draw(st.integers(0, 5)) if found else 0):
        exposed = []
        for port, protocol, host_port, sources in draw(
            st.lists(
                st.tuples(ports, protocols, st.none() | ports, st.lists(networks, min_size=1, max_size=3)),
                max_size=3,
            )
        ):
            free = host_port is not None and (protocol, host_port) not in taken
            if free and host_port is not None:
                taken.add((protocol, host_port))
            exposed.append(ExposedPort(port, protocol, host_port if free else None, tuple(sources)))
        zone = draw(st.integers(0, len(found) - 1))
        address6 = IPv6Address(f"fd00:{zone}::1:{number:x}") if found[zone].gateway6 else None
        guests.append(
            GuestPolicy(
                name=f"{number}-guest",
                link=f"dtg{number:08x}",
                bridge=found[zone].bridge,
                mac=f"02:00:00:00:00:{number:02x}",
                address=IPv4Address(f"10.{zone}.1.{number}"),
                exposed=tuple(exposed),
                address6=address6,
            )
        )
    tunnel = Tunnel(IPv4Address("192.0.2.1"), (7, 2**24 - 1), (IPv4Address("192.0.2.2"),))
    return Policy(
        zones=found,
        guests=tuple(guests),
        registry_port=draw(st.none() | ports),
        name_server=draw(st.booleans()),
        crossings=tuple(draw(st.lists(crossings(), max_size=6))),
        tunnel=tunnel
        if any(zone.transit and zone.encapsulation is Encapsulation.VXLAN for zone in found)
        else None,
        protected=tuple(each.network_address for each in draw(st.lists(networks, max_size=3))),
        elsewhere=tuple(draw(st.lists(networks, max_size=3))),
    )
