"""Which zone has which id: a VXLAN network identifier (VNI), or the 802.1Q id of a VLAN. Pure.

The two are spaces of their own. A claim lies in the zone's status; what nodes were told of it says the same.
What is taken is computed from all of them each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dsecos_api import NetworkZone, Reason, ZoneAttachment
from dsecos_api.networkzone import EncapsulationType
from dsecos_api.peering import encapsulation, spans_nodes

from dsecos_operator.rendering.refused import Refused
from dsecos_operator.zones.check import age

LARGEST_VLAN_ID = 4094
"""The smallest is 1: 0 is no VLAN's, and 4095 is reserved (IEEE 802.1Q-2022, table 9-2)."""


class IdRange(NamedTuple):
    """Ids from the first to the last, and these two."""

    first: int
    last: int

    def __str__(self) -> str:
        """As it is set."""
        return f"{self.first}-{self.last}"


VNIS = IdRange(2**16, 2**24 - 1)
"""Given to zones that ask for none: those below are left to people who choose theirs by hand; the last is
the largest (RFC 7348, section 5).
"""
VLAN_IDS = IdRange(3000, 3999)
"""All that zones can have, unless an administrator says otherwise: others are VLANs of the site, and whoever
makes a zone is not to put a node into one of them.
"""


class Holder(NamedTuple):
    """Who has an id."""

    uid: str
    name: str
    """Namespace and name, as people write them."""


def claims(
    space: EncapsulationType, zones: Iterable[NetworkZone], attachments: Iterable[ZoneAttachment]
) -> dict[int, Holder]:
    """Who has which id of a space. Where more than one says that it has it, one that is in use goes before
    one that is not, then the older one.
    """
    found: dict[int, Holder] = {}
    used: dict[str, int] = {}
    owners: dict[str, Holder] = {}
    for each in attachments:
        if each.spec.transit is not None and each.spec.encapsulation.type == space:
            ref = each.spec.zone_ref
            used.setdefault(ref.uid, each.spec.transit.id)
            owners.setdefault(ref.uid, Holder(ref.uid, f"{ref.namespace}/{ref.name}"))
    numbered = [each for each in zones if encapsulation(each) == space]
    for zone in sorted(numbered, key=lambda each: (each.uid not in used, age(each))):
        number = used.pop(zone.uid, zone.status.id)
        if number is not None and wish(zone) in (None, number):
            found.setdefault(number, Holder(zone.uid, f"{zone.namespace}/{zone.name}"))
    # What is left belongs to zones that were forced away while nodes still have them.
    for uid, number in used.items():
        found.setdefault(number, owners[uid])
    return found


def held(zone: NetworkZone, known: Mapping[int, Holder]) -> int | None:
    """The id that the zone has."""
    return next((number for number, holder in known.items() if holder.uid == zone.uid), None)


def held_among(
    zone: NetworkZone, zones: Iterable[NetworkZone], attachments: Iterable[ZoneAttachment]
) -> int | None:
    """The id that the zone has, where `attachments` are its own at least; those of all zones are needed only
    where more than one of these says that it has it.
    """
    told = list(attachments)
    own = {each.spec.transit.id for each in told if each.spec.zone_ref.uid == zone.uid and each.spec.transit}
    numbers = {zone.status.id, *own} - {None}
    rivals = [each for each in zones if each.status.id in numbers and each.uid != zone.uid]
    return held(zone, claims(encapsulation(zone), [zone, *rivals], told)) if numbers else None


def choose(
    zone: NetworkZone,
    zones: Sequence[NetworkZone],
    known: Mapping[int, Holder],
    promised: Mapping[str, int],
    vlan_ids: IdRange = VLAN_IDS,
) -> int:
    """The id that the zone is to have: its own, else the one that it asks for, else a free one.

    `known`: of `claims`, for the zone's space. `promised`: ids by UID of zones that may have been written and
    were not seen since. `vlan_ids`: 802.1Q ids are of these. Raises Refused (IdTaken, IdInvalid).
    """
    own = held(zone, known)
    if own is not None:
        return own
    space = encapsulation(zone)
    others = {each.uid: each for each in zones if each.uid != zone.uid and encapsulation(each) == space}
    taken = {number: holder.name for number, holder in known.items()}
    for uid, number in promised.items():
        if uid in others:
            taken.setdefault(number, f"{others[uid].namespace}/{others[uid].name}")
    wanted = wish(zone)
    if wanted is not None:
        if space is EncapsulationType.VLAN and not vlan_ids.first <= wanted <= vlan_ids.last:
            raise _beside(wanted, vlan_ids)
        return _wished(zone, wanted, others.values(), taken)
    if zone.uid in promised and promised[zone.uid] not in taken:
        return promised[zone.uid]
    among = vlan_ids if space is EncapsulationType.VLAN else VNIS
    free = _free(zone, among, {*taken, *filter(None, map(wish, others.values()))})
    if free is None:
        raise _exhausted(space, among)
    return free


def wish(zone: NetworkZone) -> int | None:
    """The id that the zone asks for; None: any."""
    return zone.spec.encapsulation.id if zone.spec.encapsulation is not None else None


def waits_for_any(zone: NetworkZone) -> bool:
    """Whether the zone has no id and takes whichever there is."""
    return spans_nodes(zone) and wish(zone) is None and zone.status.id is None


def _wished(zone: NetworkZone, wanted: int, others: Iterable[NetworkZone], taken: Mapping[int, str]) -> int:
    holder = taken.get(wanted)
    if holder is not None:
        raise _taken(wanted, f"{holder} has it")
    older = [each for each in others if wish(each) == wanted and age(each) < age(zone) and not each.deleting]
    if older:
        first = min(older, key=age)
        raise _taken(wanted, f"{first.namespace}/{first.name} asks for it too, and is older")
    return wanted


def _free(zone: NetworkZone, among: IdRange, taken: set[int]) -> int | None:
    """One that nobody has, None if there is none. The search begins somewhere else for each zone, so that the
    id of one that is gone is not had again at once by the next.
    """
    count = among.last - among.first + 1
    start = int.from_bytes(hashlib.sha256(zone.uid.encode()).digest()[:8], "big") % count
    for step in range(min(count, len(taken) + 1)):
        number = among.first + (start + step) % count
        if number not in taken:
            return number
    return None


def _exhausted(space: EncapsulationType, among: IdRange) -> Refused:
    if space is EncapsulationType.VLAN:
        told = f"every 802.1Q id of {among} is taken; delete zones, or widen DSECOS_VLAN_IDS of the operator"
    else:
        told = f"every VXLAN network identifier of {among} is taken; delete zones"
    return Refused(Reason.ID_TAKEN, told)


def _beside(wanted: int, given: IdRange) -> Refused:
    return Refused(
        Reason.ID_INVALID,
        f"spec.encapsulation.id: {wanted} is none of the 802.1Q ids that zones can have, {given}; leave it"
        " out, choose one of these, or let an administrator widen DSECOS_VLAN_IDS of the operator",
    )


def _taken(number: int, who: str) -> Refused:
    return Refused(
        Reason.ID_TAKEN,
        f"spec.encapsulation.id: {number} is taken: NetworkZone {who}; leave it out, or choose another one",
    )
