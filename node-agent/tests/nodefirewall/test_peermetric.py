"""The metric by peer: bounded, and no more than the kernel remembers."""

import random
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from dsecos_agent.firewall.model import DeniedPeer, Direction
from dsecos_agent.nodefirewall.peermetric import MOST, MOST_OF_GUEST, NAME, PEERS, PeerMetric, shown
from prometheus_client import generate_latest


@pytest.fixture
def metric() -> Iterator[PeerMetric]:
    yield PEERS
    PEERS.show(())


def peer(
    guest: str, address: str, packets: int, direction: Direction = Direction.INGRESS, port: int | None = 22
) -> DeniedPeer:
    return DeniedPeer(guest, direction, ip_address(address), "tcp" if port else "icmp", port, packets)


def told() -> list[str]:
    return [line for line in generate_latest().decode().splitlines() if line.startswith(NAME)]


def flood(guest: str, number: int, seed: int) -> list[DeniedPeer]:
    """Of a scan: nobody twice."""
    chance = random.Random(seed)
    return [
        peer(
            guest,
            str(ip_address(chance.getrandbits(32))),
            chance.randint(1, 9),
            port=chance.randint(1, 65535),
        )
        for _ in range(number)
    ]


def test_each_peer_is_a_series(metric: PeerMetric) -> None:
    metric.show([peer("a", "192.0.2.9", 3), peer("a", "2001:db8::1", 2, Direction.EGRESS, None)])

    assert told() == [
        f'{NAME}{{direction="ingress",guest="a",peer="192.0.2.9",port="22",protocol="tcp"}} 3.0',
        f'{NAME}{{direction="egress",guest="a",peer="2001:db8::1",port="",protocol="icmp"}} 2.0',
    ]


def test_what_the_kernel_has_forgotten_has_no_series(metric: PeerMetric) -> None:
    metric.show([peer("a", "192.0.2.9", 3), peer("a", "192.0.2.8", 3)])
    metric.show([peer("a", "192.0.2.9", 4)])

    (line,) = told()
    assert line.endswith(" 4.0")


def test_a_scan_yields_the_busiest_of_its_guest_alone(metric: PeerMetric) -> None:
    scan = flood("a", 4096, seed=1)
    busiest = [peer("a", f"192.0.2.{number}", 100 + number) for number in range(MOST_OF_GUEST)]
    metric.show([*scan, *busiest, *flood("b", 4096, seed=2)])

    assert Counter(line.partition('guest="')[2][0] for line in told()) == {
        "a": MOST_OF_GUEST,
        "b": MOST_OF_GUEST,
    }
    assert {str(each.peer) for each in shown([*scan, *busiest])} == {str(each.peer) for each in busiest}


def test_a_node_under_attack_has_a_bounded_number_of_series_and_no_guest_loses_all(
    metric: PeerMetric,
) -> None:
    guests = [f"guest-{number}" for number in range(MOST // 2)]
    loud = [each for number, name in enumerate(guests) for each in flood(name, 20, seed=number)]
    quiet = peer("quiet", "192.0.2.9", 1)
    metric.show([*loud, quiet])

    assert len(told()) == MOST
    assert {each.guest for each in shown([*loud, quiet])} == {*guests, "quiet"}


def test_the_same_peers_in_another_order_are_the_same_series() -> None:
    peers = [*flood("a", 50, seed=3), *flood("b", 50, seed=4)]

    assert shown(reversed(peers)) == shown(peers)
