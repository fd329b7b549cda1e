"""Any policy that is valid, for property tests."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from dsecos_agent.firewall.model import (
    L4,
    EgressMode,
    EgressRule,
    ExposedPort,
    GuestPolicy,
    Policy,
    ZonePolicy,
)
from hypothesis import strategies as st

ports = st.integers(1, 65535)
protocols = st.sampled_from(L4)


@st.composite
def networks(draw: st.DrawFn) -> IPv4Network:
    length = draw(st.integers(0, 32))
    return IPv4Network(
        (draw(st.integers(0, 2**32 - 1)) >> (32 - length) << (32 - length) if length else 0, length)
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    zones = tuple(
        ZonePolicy(
            bridge=f"dtz{number:08x}",
            gateway=IPv4Interface(f"10.{number}.0.1/16"),
            egress=draw(st.sampled_from(EgressMode)),
            egress_to=tuple(
                draw(
                    st.lists(
                        st.builds(
                            EgressRule, networks(), st.frozensets(st.tuples(protocols, ports), max_size=3)
                        ),
                        max_size=4,
                    )
                )
            ),
        )
        for number in range(draw(st.integers(0, 3)))
    )
    taken: set[tuple[L4, int]] = set()
    guests = []
    for number in range(draw(st.integers(0, 5)) if zones else 0):
        exposed = []
        for port, protocol, host_port, sources in draw(
            st.lists(
                st.tuples(ports, protocols, st.none() | ports, st.lists(networks(), min_size=1, max_size=3)),
                max_size=3,
            )
        ):
            free = host_port is not None and (protocol, host_port) not in taken
            if free and host_port is not None:
                taken.add((protocol, host_port))
            exposed.append(ExposedPort(port, protocol, host_port if free else None, tuple(sources)))
        zone = draw(st.integers(0, len(zones) - 1))
        guests.append(
            GuestPolicy(
                name=f"{number}-guest",
                link=f"dtg{number:08x}",
                bridge=zones[zone].bridge,
                mac=f"02:00:00:00:00:{number:02x}",
                address=IPv4Address(f"10.{zone}.1.{number}"),
                exposed=tuple(exposed),
            )
        )
    return Policy(zones, tuple(guests), draw(st.none() | ports), draw(st.booleans()))
