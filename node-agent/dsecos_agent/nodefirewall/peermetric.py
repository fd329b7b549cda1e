"""Whose packets were dropped, as a metric.

A gauge, because it is what the kernel remembers: it forgets whom nothing was dropped of for ten minutes,
begins anew when rules are replaced as a whole, and takes no more when it is full. The exact count is the
counter by guest.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dsecos_agent.firewall.model import DeniedPeer

NAME = "dsecos_denied_packets_by_peer"

MOST_OF_GUEST = 10
"""Series of one guest and direction: the peers with the most packets."""

MOST = 1000
"""Series of the node."""


def shown(peers: Iterable[DeniedPeer]) -> list[DeniedPeer]:
    """Those that get a series. When there are too many, every guest loses its least ones first: nobody's
    scan pushes out what is told about others.
    """
    ranked: list[tuple[int, DeniedPeer]] = []
    for _, found in groupby(sorted(peers, key=_of_guest), key=lambda each: (each.guest, each.direction)):
        ranked.extend(enumerate(list(found)[:MOST_OF_GUEST]))
    ranked.sort(key=lambda each: (each[0], -each[1].packets))
    return [peer for _, peer in ranked[:MOST]]


def _of_guest(peer: DeniedPeer) -> tuple[object, ...]:
    key = (peer.peer.version, int(peer.peer), peer.protocol, peer.port or 0)
    return peer.guest, peer.direction, -peer.packets, *key


class PeerMetric(Collector):
    """Tells the last reading, whole; what that no longer holds has no series."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._shown: Sequence[DeniedPeer] = ()

    def show(self, peers: Iterable[DeniedPeer]) -> None:
        """A new reading; a scrape, in a thread of its own, sees either the former or this one."""
        self._shown = shown(peers)

    def collect(self) -> Iterator[Metric]:
        """What Prometheus asks for."""
        family = GaugeMetricFamily(
            NAME,
            "Packets that the firewall dropped lately, of the busiest whom it remembers",
            labels=["guest", "direction", "protocol", "port", "peer"],
        )
        for each in self._shown:
            port = "" if each.port is None else str(each.port)
            family.add_metric([each.guest, each.direction, each.protocol, port, str(each.peer)], each.packets)
        yield family


PEERS = PeerMetric()
REGISTRY.register(PEERS)
