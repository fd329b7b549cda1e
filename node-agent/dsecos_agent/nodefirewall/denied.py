"""Counters of denied packets become metrics, and now and then an event."""

import time
from collections.abc import Callable, Mapping

from prometheus_client import Counter

from dsecos_agent.firewall.model import Denied, Direction

EVENT_EVERY = 60.0
"""Seconds between two events about one guest."""

PACKETS = Counter(
    "dsecos_denied_packets",
    "Packets that the firewall dropped, as seen from the guest",
    ["guest", "direction"],
)

TEXTS = {
    Direction.INGRESS: "packets to it were dropped: nobody exposed their port to their sender",
    Direction.EGRESS: "packets from it were dropped: its zone does not let them out",
    Direction.SPOOFED: "packets from it were dropped: they bore an address that is not its own",
}


class DeniedPackets:
    """Remembers the last reading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[tuple[str, Direction], int] | None = None
        self._told: dict[str, float] = {}

    def seen(self, counters: Mapping[tuple[str, Direction], Denied]) -> list[tuple[str, str]]:
        """Count what is new; returns guests and messages that are worth an event.

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
        return [(guest, "; ".join(TEXTS[direction] for direction in sorted(grown[guest]))) for guest in due]

    def _drop_gone(self, before: Mapping[tuple[str, Direction], int]) -> None:
        for guest, direction in before.keys() - (self._last or {}).keys():
            if (guest, direction) in PACKETS._metrics:
                PACKETS.remove(guest, direction)
            self._told.pop(guest, None)
