"""Which Stacks have to be together, and which apart. Pure.

A rule binds both sides: who says "apart from db" also keeps a db that comes later away, and who says
"together with db" draws it to where he is. So the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dsecos_api import Node

Domain = tuple[str, str]
"""A place: a label's value, or a Node of its own."""


@dataclass(frozen=True, slots=True)
class Company:
    """Other Stacks of a namespace, and how near "together" is."""

    stacks: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    topology: str | None = None
    """Label of Nodes whose values tell places apart; None: each Node is one."""
    preferred: bool = False

    def names(self, other: Member) -> bool:
        """Whether it speaks of this Stack, which is of the same namespace."""
        return other.stack in self.stacks or other.zone in self.zones


@dataclass(frozen=True, kw_only=True)
class Member:
    """A Stack and its rules, whether it has a place or not."""

    namespace: str
    stack: str
    uid: str
    zone: str | None
    """None: it is in no zone."""
    together: Company | None = None
    apart: Company | None = None

    def shares_zone(self, other: Member) -> bool:
        """Whether another Stack is in the same zone. Those in none have nothing in common."""
        same = (self.namespace, self.zone) == (other.namespace, other.zone)
        return self.zone is not None and same and self.uid != other.uid


@dataclass(frozen=True, kw_only=True)
class Placed(Member):
    """A Stack that has a place."""

    node: str


class Map:
    """The Nodes' labels."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._labels: Mapping[str, Mapping[str, str]] = {each.name: each.metadata.labels for each in nodes}

    def domain(self, node: str, topology: str | None) -> Domain:
        """The place of a Node; one that lacks the label, or is gone, is a place of its own."""
        value = self._labels.get(node, {}).get(topology) if topology is not None else None
        return ("node", node) if value is None else ("label", value)


def demands(rule: Company | None, this: Member, other: Member) -> Company | None:
    """The rule, if `this` has one that holds without fail and speaks of `other`."""
    if rule is None or rule.preferred or this.namespace != other.namespace or this.uid == other.uid:
        return None
    return rule if rule.names(other) else None


def violations(node: str, wanted: Member, others: Iterable[Placed], places: Map) -> Iterator[str]:
    """Why `wanted` may not be on `node`, with those who are somewhere already."""
    for other in others:
        if other.uid == wanted.uid or other.namespace != wanted.namespace:
            continue
        name = f"Stack {other.namespace}/{other.stack}"
        for rule, text in (
            (demands(wanted.apart, wanted, other), "which it has to be apart from"),
            (demands(other.apart, other, wanted), "which has to be apart from it"),
        ):
            if rule and _near(node, other.node, rule, places):
                yield f"{name}, {text}, is {_where(node, other.node, rule)}"
        for rule, text in (
            (demands(wanted.together, wanted, other), "which it has to be together with"),
            (demands(other.together, other, wanted), "which has to be together with it"),
        ):
            if rule and not _near(node, other.node, rule, places):
                yield f"{name}, {text}, is on {other.node}"


def awaited(wanted: Member, unplaced: Sequence[Member]) -> list[str]:
    """Names of Stacks that have to be placed before `wanted`, because it has to be together with them.

    Those that wait for `wanted` themselves, directly or through others, are not waited for: of a circle the
    first one goes ahead.
    """
    known: Sequence[Member] = [wanted, *(each for each in unplaced if each.uid != wanted.uid)]

    def next_of(this: Member) -> list[Member]:
        return [each for each in known if demands(this.together, this, each)]

    def reaches(start: Member) -> bool:
        seen, todo = {start.uid}, [start]
        while todo:
            for each in next_of(todo.pop()):
                if each.uid == wanted.uid:
                    return True
                if each.uid not in seen:
                    seen.add(each.uid)
                    todo.append(each)
        return False

    return sorted(f"{each.namespace}/{each.stack}" for each in next_of(wanted) if not reaches(each))


def liking(node: str, wanted: Member, others: Iterable[Placed], places: Map) -> int:
    """How well a Node suits what is preferred: each companion there is worth 1, each to be avoided -1."""
    score = 0
    for other in others:
        if other.uid == wanted.uid or other.namespace != wanted.namespace:
            continue
        for rule, worth in ((wanted.together, 1), (wanted.apart, -1)):
            if rule and rule.preferred and rule.names(other) and _near(node, other.node, rule, places):
                score += worth
    return score


def _near(one: str, other: str, rule: Company, places: Map) -> bool:
    return places.domain(one, rule.topology) == places.domain(other, rule.topology)


def _where(node: str, other: str, rule: Company) -> str:
    return "on it" if node == other else f"on {other}, of the same {rule.topology}"
