"""Counters of denied packets become metrics, and now and then an event.

Counters are read often; whose packets they were is looked up only when there is something to see, and seldom:
a guest, or somebody outside, can fill what the kernel remembers, and reading that when it is full takes half
a second of a processor.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import Counter

from dsecos_agent.firewall.model import Denied, DeniedPeer, Direction
from dsecos_agent.nodefirewall.peermetric import PEERS

LOOK_EVERY = 30.0
"""Seconds between two looks at whose packets they were; an event waits for it."""

EVENT_EVERY = 60.0
"""Seconds between two events about one guest."""

PACKETS = Counter(
    "dsecos_denied_packets",
    "Packets that the firewall dropped, as seen from the guest",
    ["guest", "direction"],
)

NAMED = 3
"""Peers that an event names: those with the most packets."""

TEXTS = {
    Direction.INGRESS: "packets to it{} were dropped: nobody exposed their port to their sender",
    Direction.EGRESS: "packets from it{} were dropped: its zone does not let them out",
    Direction.SPOOFED: "packets from it{} were dropped: they bore an address that is not its own",
}


class DeniedPackets:
    """Remembers the last reading of the counters, and what is new since peers were last looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[tuple[str, Direction], int] | None = None
        self._told: dict[str, float] = {}
        self._grown: dict[str, set[Direction]] = {}
        self._looked = -LOOK_EVERY
        self._remembered = False
        """The kernel knew peers when we last looked."""

    def seen(self, counters: Mapping[tuple[str, Direction], Denied]) -> None:
        """Count what is new. In the first reading nothing is."""
        before = self._last
        self._last = {key: denied.packets for key, denied in counters.items()}
        for (guest, direction), packets in self._last.items():
            old = packets if before is None else before.get((guest, direction), 0)
            new = packets - old if packets >= old else packets
            if new:
                PACKETS.labels(guest, direction).inc(new)
                self._grown.setdefault(guest, set()).add(direction)
        self._drop_gone(before or {})

    def look(self) -> bool:
        """Whether to ask the kernel for peers: something was dropped, or it may have forgotten some."""
        news = bool(self._grown) or self._remembered
        return news and self._clock() - self._looked >= LOOK_EVERY

    def looked(self, peers: Sequence[DeniedPeer]) -> dict[str, str]:
        """Show peers as a metric; returns the events to tell, by guest."""
        now = self._clock()
        self._looked, self._remembered = now, bool(peers)
        PEERS.show(peers)
        grown, self._grown = self._grown, {}
        due = [guest for guest in sorted(grown) if now - self._told.get(guest, -EVENT_EVERY) >= EVENT_EVERY]
        self._told |= dict.fromkeys(due, now)
        of_guest: dict[str, list[DeniedPeer]] = {}
        for peer in peers:
            of_guest.setdefault(peer.guest, []).append(peer)
        return {guest: message(sorted(grown[guest]), of_guest.get(guest, ())) for guest in due}

    def _drop_gone(self, before: Mapping[tuple[str, Direction], int]) -> None:
        for guest, direction in before.keys() - (self._last or {}).keys():
            if (guest, direction) in PACKETS._metrics:
                PACKETS.remove(guest, direction)
            self._told.pop(guest, None)
            self._grown.pop(guest, None)


def message(directions: Iterable[Direction], peers: Iterable[DeniedPeer]) -> str:
    """Of one guest's event; `peers` are that guest's. It holds no number of packets: the same thing happening
    again is the same event.
    """
    known = sorted(peers, key=lambda each: (-each.packets, each.peer.version, int(each.peer), each.port or 0))
    texts = []
    for direction in directions:
        named = [_words(each) for each in known if each.direction is direction]
        texts.append(TEXTS[direction].format(f" ({', '.join(named[:NAMED])})" if named else ""))
    return "; ".join(texts)


def _words(peer: DeniedPeer) -> str:
    what = peer.protocol.upper() if peer.port is None else f"{peer.protocol.upper()} port {peer.port}"
    if peer.direction is Direction.INGRESS:
        return f"{what} from {peer.peer}"
    return f"{what} of {peer.peer}"
