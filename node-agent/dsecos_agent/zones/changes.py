"""What somebody changed on a zone's links, in words. Pure."""

from collections.abc import Iterator, Set

from dsecos_agent.links.entries import Carried
from dsecos_agent.links.protocol import Bridge, ObservedBridge, ObservedTransit, Transit

TOLD = 5
"""Entries that are named; of the rest it is said how many there are."""


def bridge_changes(bridge: Bridge, found: ObservedBridge | None) -> list[str]:
    """What is not as it was made; empty: all is."""
    name = bridge.name
    if found is None:
        return [f"bridge {name} was deleted"]
    words = list(_owner("bridge", name, bridge.owner_uid, found.owner_uid))
    if not found.up:
        words.append(f"bridge {name} was taken down")
    if found.mtu != bridge.mtu:
        words.append(f"the MTU of bridge {name} was {found.mtu}")
    if bridge.mac not in {None, found.mac}:
        words.append(f"the MAC of bridge {name} was {found.mac}")
    gateways6 = () if bridge.gateway6 is None else (bridge.gateway6,)
    asked, present = {bridge.gateway, *gateways6}, {*found.addresses, *found.addresses6}
    words += [f"address {each} of bridge {name} was missing" for each in sorted(map(str, asked - present))]
    words += [f"route {each} over bridge {name} was missing" for each in found.unrouted]
    words += [f"bridge {name} had the address {each}" for each in sorted(map(str, present - asked))]
    return words


def transit_changes(transit: Transit, found: ObservedTransit | None, asked: Carried) -> list[str]:
    """What is not as it was made; empty: all is. `asked` is what the link is to carry."""
    name = transit.name
    if found is None:
        return [f"transit link {name} was deleted"]
    words = list(_owner("transit link", name, transit.owner_uid, found.owner_uid))
    carrier = found.carrier
    if carrier is None:
        words.append(f"transit link {name} was a link of another kind")
    elif (carrier.encapsulation, carrier.id) != (transit.encapsulation, transit.id) or (
        transit.address not in carrier.addresses
    ):
        words.append(f"transit link {name} was {carrier}")
    elif not found.closed:
        words.append(
            f"transit link {name} was opened: it learned, flooded, told, asked or was a bridge's port"
        )
    if found.mac != transit.mac:
        words.append(f"the MAC of {name} was {found.mac}")
    if found.mtu != transit.mtu:
        words.append(f"the MTU of {name} was {found.mtu}")
    if not found.up:
        return [*words, f"transit link {name} was taken down"]  # which takes its routes with it
    entries = [
        *_entries(f"forwarding entry {{}} of {name}", asked.forwarding, found.forwarding),
        *_entries(f"neighbour {{}} of {name}", asked.neighbours, found.neighbours),
        *_entries(f"route {{}} of {name}", asked.routes, found.routes),
        *(f"{name} had {each}" for each in found.strangers),
    ]
    more = [f"and {len(entries) - TOLD} more entries"] if len(entries) > TOLD else []
    return [*words, *entries[:TOLD], *more]


def _owner(kind: str, name: str, asked: str, found: str | None) -> Iterator[str]:
    if found != asked:
        yield f"{kind} {name} was marked as {found or 'nobody'}'s"


def _entries(
    form: str, asked: Set[tuple[object, object]], found: Set[tuple[object, object]]
) -> Iterator[str]:
    """A sentence for each entry that was changed, removed or added; both are of a subject and its object."""
    if asked == found:
        return
    before = {str(subject): str(target) for subject, target in asked - found}
    now = {str(subject): str(target) for subject, target in found - asked}
    for subject in sorted(before.keys() | now.keys()):
        what, becomes = form.format(subject), now.get(subject)
        if becomes is None:
            yield f"{what} was missing"
        elif subject in before:
            yield f"{what} pointed to {becomes}"
        else:
            yield f"{what} was added, to {becomes}"
