"""What the zones of this node ask for, and what was made of it and found changed afterwards."""

from collections.abc import Iterable, Mapping

from dsecos_api import ZoneAttachment
from dsecos_runtime import get_logger

from dsecos_agent.links.protocol import ObservedTransit
from dsecos_agent.zones.naming import UnsupportedZoneError, bridge_of, transit_of
from dsecos_agent.zones.plan import Seen, Wanted, changes


class Wishes:
    """Read anew only when an attachment's spec is another: one may name thousands of guests."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._known: dict[str, tuple[int | None, Wanted]] = {}
        """By UID: generation and what it asks for."""

    def of(self, attachment: ZoneAttachment) -> Wanted:
        """One zone's. Raises UnsupportedZoneError."""
        generation, wanted = self._known.get(attachment.uid, (None, None))
        if wanted is None or generation != attachment.metadata.generation:
            wanted = Wanted(bridge_of(self._prefix, attachment), transit_of(self._prefix, attachment))
            self._known[attachment.uid] = (attachment.metadata.generation, wanted)
        return wanted

    def supported(self, attachments: Iterable[ZoneAttachment]) -> Mapping[str, Wanted]:
        """Of all that there are, by attachment's name; those that cannot be done are left out."""
        attachments = tuple(attachments)
        uids = {attachment.uid for attachment in attachments}
        self._known = {uid: known for uid, known in self._known.items() if uid in uids}
        found = {}
        for attachment in attachments:
            try:
                found[attachment.name] = self.of(attachment)
            except UnsupportedZoneError as error:
                get_logger().debug("zone not supported", zone=attachment.name, error=str(error))
        return found


class InForce:
    """Which zones were made, so that what is different afterwards was done by somebody else."""

    def __init__(self) -> None:
        self.turn = 0
        """Raised whenever we begin or end a change: a look that lasted over one may have seen half of it."""
        self._made: dict[str, Wanted] = {}
        self._right: dict[str, ObservedTransit] = {}
        self._noticed: dict[str, str] = {}
        self._busy: set[str] = set()

    def drifted(self, zone: str, wanted: Wanted, seen: Seen, turn: int) -> bool:
        """Whether a zone's links are not as they should be; `turn` is from before the look."""
        made = self._made.get(zone)
        judged = made is wanted and seen.transit is not None and self._right.get(zone) is seen.transit
        words = changes(Wanted(wanted.bridge) if judged else wanted, seen)
        if not words and seen.transit is not None:
            self._right[zone] = seen.transit
        if made == wanted and turn == self.turn and zone not in self._busy:
            self._notice(zone, words)
        return bool(words)

    def begin(self, zone: str, wanted: Wanted, seen: Seen) -> None:
        """We are about to see to a zone."""
        if self._made.get(zone) != wanted:
            self.forget(zone)
        else:
            self._notice(zone, changes(wanted, seen))
        self._busy.add(zone)
        self.turn += 1

    def done(self, zone: str, wanted: Wanted) -> str:
        """It is as wanted now; returns what others had changed since it was made, in words."""
        self._made[zone] = wanted
        self._busy.discard(zone)
        self.turn += 1
        return self._noticed.pop(zone, "")

    def forget(self, zone: str) -> None:
        """It is to be another, or goes."""
        for remembered in (self._made, self._right, self._noticed):
            remembered.pop(zone, None)
        self._busy.discard(zone)
        self.turn += 1

    def _notice(self, zone: str, words: Iterable[str]) -> None:
        text = "; ".join(words)
        if text:
            self._noticed.setdefault(zone, text)
