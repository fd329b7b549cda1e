"""Pieces of nftables text (nft(8)). Pure."""

from collections.abc import Iterable, Iterator, Mapping

from dsecos_agent.firewall.model import Denied, Direction, GuestPolicy
from dsecos_agent.firewall.validate import Names

Counters = Mapping[tuple[str, Direction], Denied]


def table(family: str, instance: str, body: Iterable[str]) -> Iterator[str]:
    """A table that takes the place of the one of that name."""
    yield f"add table {family} {instance}"
    yield f"delete table {family} {instance}"
    yield f"table {family} {instance} {{"
    yield from (f"    {line}" for line in body)
    yield "}"


def collection(
    kind: str, name: str, of: str, elements: Iterable[str], *, interval: bool = False
) -> Iterator[str]:
    """A set or a map; `of` is its type, or an expression after `typeof`."""
    yield f"{kind} {name} {{"
    yield f"    {of}" if of.startswith("typeof ") else f"    type {of}"
    if interval:
        yield "    flags interval"
    if ordered := sorted(set(elements)):
        yield "    elements = {"
        yield from (f"        {element}," for element in ordered)
        yield "    }"
    yield "}"


def chain(name: str, rules: Iterable[str], hook: str = "") -> Iterator[str]:
    """A chain; with a hook it is a base chain, which lets pass what no rule of it drops."""
    yield f"chain {name} {{"
    if hook:
        yield f"    type {hook}; policy accept;"
    yield from (f"    {rule}" for rule in rules)
    yield "}"


def counter_name(guest: str, direction: Direction) -> str:
    """Of the named counter; nft's identifiers begin with a letter, guests' names may not."""
    return f"{direction}-{guest}"


def counters(guests: Iterable[GuestPolicy], direction: Direction, begin: Counters) -> Iterator[str]:
    """Each guest's counter of what was dropped, with the value that it begins with."""
    for guest in guests:
        value = begin.get((guest.name, direction), Denied(0, 0))
        name = counter_name(guest.name, direction)
        yield f"counter {name} {{ packets {value.packets} bytes {value.bytes} }}"


def named_by_engines(guests: Iterable[GuestPolicy], names: Names) -> list[str]:
    """Guests' links whose names are not ours to choose: no pattern of ours matches them."""
    return [guest.link for guest in guests if not names.is_port(guest.link)]


def engine_ports(links: list[str]) -> Iterator[str]:
    """The set of those links, if there are any."""
    if links:
        yield from collection("set", "engine_ports", "ifname", (f'"{link}"' for link in links))
