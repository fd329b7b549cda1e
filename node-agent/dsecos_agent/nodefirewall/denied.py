"""Counters of denied packets become metrics, and now and then an event."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Counter

from dsecos_agent.firewall.model import Denied, DeniedPeer, Direction

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
    """Remembers the last reading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[tuple[str, Direction], int] | None = None
        self._told: dict[str, float] = {}

    def seen(self, counters: Mapping[tuple[str, Direction], Denied]) -> dict[str, list[Direction]]:
        """Count what is new; returns guests that are worth an event, and what was dropped of theirs.

        The first reading is none.
        """
        before = self._last
        self._last = {key: denied.packets for key, denied in counters.items()}
        grown: dict[str, list[Direction]] = {}
        for (guest, direction), packets in self._last.items():
            old = packets if before is None else before.get((guest, direction), 0)
            new = packets - old if packets >= old else packets
            if new:
                PACKETS.labels(guest, direction).inc(new)
                grown.setdefault(guest, []).append(direction)
        self._drop_gone(before or {})
        now = self._clock()
        due = [guest for guest in sorted(grown) if now - self._told.get(guest, -EVENT_EVERY) >= EVENT_EVERY]
        self._told |= dict.fromkeys(due, now)
        return {guest: sorted(grown[guest]) for guest in due}

    def _drop_gone(self, before: Mapping[tuple[str, Direction], int]) -> None:
        for guest, direction in before.keys() - (self._last or {}).keys():
            if (guest, direction) in PACKETS._metrics:
                PACKETS.remove(guest, direction)
            self._told.pop(guest, None)


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
