"""From one policy to another by elements of sets, maps and counters, where the rules are the same. Pure.

A guest that comes, goes or exposes a port changes no rule. One transaction of elements costs the kernel
nothing for those that stay, and leaves no moment between two rule sets either.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from dsecos_agent.firewall.model import GuestPolicy, Policy
from dsecos_agent.firewall.render import render
from dsecos_agent.firewall.validate import Names

MOST = 2000
"""Elements: beyond that the whole is as quick."""

BEGIN = "        elements = {"
END = "        }"

Place = tuple[str, str]
"""Family of the table, and name of a set, a map or a counter in it."""

Verb = Literal["add", "delete"]

Guests = tuple[GuestPolicy, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a set or a map takes, in nft's words."""

    of: str = ""
    """`type` or `typeof`, and what follows; a map's data after a colon."""
    interval: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """Of one set or map, or a counter that comes or goes."""

    verb: Verb
    family: str
    name: str
    elements: tuple[str, ...] = ()
    """As nft takes them; to delete one its key is enough, and a key is all that is taken."""
    kind: Kind | None = None
    """None: it is a counter."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A rendered policy, taken apart."""

    rules: tuple[str, ...]
    """All lines that are no element and no counter."""
    kinds: dict[Place, Kind] = field(default_factory=dict)
    elements: dict[Place, set[str]] = field(default_factory=dict)
    counters: set[Place] = field(default_factory=set)


def parts(text: str) -> Parts:
    """Take apart what `render` made."""
    rules: list[str] = []
    found = Parts(())
    family = name = ""
    inside = False
    for line in text.splitlines():
        words = line.split()
        if inside:
            inside = line != END
            if inside:
                found.elements[family, name].add(line.strip().removesuffix(","))
        elif line == BEGIN:
            inside = True
        elif words[:1] == ["counter"] and line.endswith("}"):
            found.counters.add((family, words[1]))
        else:
            rules.append(line)
            if words[:1] == ["table"]:
                family = words[1]
            elif words[:1] in (["set"], ["map"]) and line.endswith("{"):
                name = words[1]
                found.elements[family, name] = set()
                found.kinds[family, name] = Kind()
            elif name and words[:1] in (["type"], ["typeof"]):
                found.kinds[family, name] = Kind(line.strip())
            elif name and words == ["flags", "interval"]:
                found.kinds[family, name] = replace(found.kinds[family, name], interval=True)
            elif words == ["}"]:
                name = ""
    return Parts(tuple(rules), found.kinds, found.elements, found.counters)


def delta(before: Policy, after: Policy, names: Names) -> list[Change] | None:
    """What leads from one to the other; None: only the whole does. Raises InvalidPolicyError.

    A guest's elements come of that guest alone. So nobody is rendered who is the same in both, and this takes
    as long as there are changes, not guests.
    """
    less, more = _apart(before, after, names)
    return delta_of_texts(render(less, names), render(more, names))


def differing(before: Guests, after: Guests) -> tuple[Guests, Guests]:
    """Guests that were, and guests that are, without those that are the same."""
    old, new = ({guest.name: guest for guest in guests} for guests in (before, after))
    return _others(before, new), _others(after, old)


def _others(guests: Guests, known: Mapping[str, GuestPolicy]) -> Guests:
    # Most are the very same: to compare thousands takes time.
    return tuple(guest for guest in guests if (same := known.get(guest.name)) is not guest and same != guest)


def delta_of_texts(before: str, after: str) -> list[Change] | None:
    """The same from what `render` made of them."""
    old, new = parts(before), parts(after)
    if old.rules != new.rules:
        return None
    sides: tuple[tuple[Verb, Parts, Parts], ...] = (("delete", old, new), ("add", new, old))
    found = [Change("add", *place) for place in sorted(new.counters - old.counters)]
    for verb, one, other in sides:
        for place, elements in sorted(one.elements.items()):
            changed = sorted(elements - other.elements[place])
            keys = changed if verb == "add" else [each.partition(" : ")[0] for each in changed]
            if keys:
                found.append(Change(verb, *place, tuple(keys), one.kinds[place]))
    found += [Change("delete", *place) for place in sorted(old.counters - new.counters)]
    return None if sum(len(change.elements) for change in found) > MOST else found


def commands(changes: Iterable[Change], instance: str) -> str:
    """For nft."""
    return "".join(
        f"{change.verb} counter {change.family} {instance} {change.name}\n"
        if change.kind is None
        else f"{change.verb} element {change.family} {instance} {change.name} "
        f"{{ {', '.join(change.elements)} }}\n"
        for change in changes
    )


def _apart(before: Policy, after: Policy, names: Names) -> tuple[Policy, Policy]:
    """Both without what they have in common, as far as no rule hangs on it."""
    old, new = differing(before.guests, after.guests)
    changed = {guest.name for guest in new}
    # Rules speak of links that engines have named, where there is one.
    of_engines = (guest for guest in after.guests if not names.is_port(guest.link))
    staying = tuple(islice((guest for guest in of_engines if guest.name not in changed), 1))
    old, new = old + staying, new + staying
    if replace(before, guests=()) == replace(after, guests=()):
        homes = {guest.bridge for guest in (*old, *new)}
        zones = tuple(zone for zone in after.zones if zone.bridge in homes)
        before, after = (
            replace(policy, zones=zones, crossings=(), protected=(), elsewhere=())
            for policy in (before, after)
        )
    return replace(before, guests=old), replace(after, guests=new)
