"""What somebody changed in our tables, in words. Pure.

Compares what `nft -j list table` says with what it said after our last apply (libnftables-json(5)).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsecos_agent.firewall.drift import VOLATILE_SETS, canonical

TOLD = 3
"""Changes that are named; of the rest it is said how many there are."""

CONTENT = {"elem", "set", "expr"}

Listing = Iterable[Mapping[str, Any]]


@dataclass(slots=True)
class Place:
    """A chain, a set, or another thing of a table."""

    itself: str
    content: list[str] = field(default_factory=list)
    """A chain's rules in their order, a set's elements in any."""


def changes(before: Mapping[str, Listing], found: Mapping[str, Listing]) -> list[str]:
    """One text for each table, chain or set that is another; both are listings by the table's family."""
    texts = []
    for family in sorted(before):
        if family not in found:
            texts.append(f"table {family} was deleted")
        else:
            texts.extend(_table(_places(before[family]), _places(found[family])))
    return texts


def told(texts: Sequence[str]) -> str:
    """As one message."""
    more = [f"and {len(texts) - TOLD} more"] if len(texts) > TOLD else []
    return ", ".join([*texts[:TOLD], *more])


def _table(before: Mapping[str, Place], found: Mapping[str, Place]) -> Iterator[str]:
    for name in sorted(before.keys() | found.keys()):
        if name not in found:
            yield f"{name} was deleted"
        elif name not in before:
            yield f"{name} is new"
        elif difference := _difference(name, before[name], found[name]):
            yield f"{name}: {difference}"


def _difference(name: str, before: Place, found: Place) -> str:
    old, new = Counter(before.content), Counter(found.content)
    more, missing = (new - old).total(), (old - new).total()
    what = "rule" if name.startswith("chain ") else "element"
    words = []
    if before.itself != found.itself:
        words.append("made anew as another")
    if more:
        words.append(f"{_number(more, what)} more")
    if missing:
        words.append(f"{_number(missing, what)} missing")
    if not words and what == "rule" and before.content != found.content:
        words.append("rules in another order")
    return ", ".join(words)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _places(listing: Listing) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for one in listing:
        ((kind, body),) = one.items()
        if kind in {"metainfo", "table"}:
            continue
        if kind == "rule":
            # nft lists a chain before its rules.
            found[f"chain {body['family']} {body['chain']}"].content.append(_text(body["expr"]))
            continue
        itself = _text({key: value for key, value in body.items() if key not in CONTENT})
        elements = () if body["name"] in VOLATILE_SETS else body.get("elem", ())
        name = f"{kind} {body['family']} {body['name']}"
        found[name] = Place(itself, [_text(element) for element in elements])
    return found


def _text(value: Any) -> str:
    return json.dumps(canonical(value), sort_keys=True)
