"""Emptying a node: who is moved, who is stopped, who waits and for what. Pure and deterministic.

Nothing is remembered: who is on the way is read off the Guests and claims, and from there the plan goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from dsecos_api.node import DrainPolicy

from dsecos_operator.rendering.refused import Refused


class Standing(Enum):
    """How a guest of the node is."""

    RUNS = auto()
    OFF = auto()
    """It does not run, because its user wants that."""
    PAUSED = auto()
    MOVING = auto()
    STOPPING = auto()
    """For the maintenance."""
    DOWN = auto()
    """Stopped for the maintenance."""
    GOING = auto()
    """It is being deleted."""


UNDER_WAY = (Standing.MOVING, Standing.STOPPING)


@dataclass(frozen=True, slots=True)
class Resident:
    """A Stack's guest on the node."""

    namespace: str
    stack: str
    uid: str
    standing: Standing
    order: int = 100
    """Lower numbers are stopped last."""
    group: str | None = None

    @property
    def name(self) -> str:
        """As people write it."""
        return f"{self.namespace}/{self.stack}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A Stack of a disruption group, wherever it is. `away`: why it is not up; empty if it is."""

    namespace: str
    stack: str
    uid: str
    group: str
    away: str = ""


@dataclass(frozen=True, slots=True)
class Orders:
    """What an administrator said about the drain."""

    policy: DrainPolicy = DrainPolicy.MOVE_OR_STOP
    most: int = 1
    """Guests on their way at a time."""
    ignore_groups: bool = False


Choose = Callable[[Resident, Mapping[str, str]], str]
"""The node that a guest can be moved to, given who (by UID) was promised which node; raises Refused."""


@dataclass(frozen=True, slots=True)
class Drain:
    """What is next. By UID."""

    stop: frozenset[str] = frozenset()
    move: Mapping[str, str] = field(default_factory=dict)
    """To which node."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Why the others that run still do."""
    left: frozenset[str] = frozenset()
    """Those of them whose time does not come while things are as they are."""


def plan(orders: Orders, residents: Sequence[Resident], peers: Iterable[Peer], choose: Choose) -> Drain:
    """`peers`: all Stacks that have a disruption group, those on the node among them."""
    known = list(peers)
    stop: set[str] = set()
    move: dict[str, str] = {}
    waiting: dict[str, str] = {}
    left: set[str] = set()
    room = orders.most - sum(each.standing in UNDER_WAY for each in residents)
    for each in sorted(residents, key=lambda one: (-one.order, one.name)):
        if each.standing not in (Standing.RUNS, Standing.PAUSED):
            continue
        if room <= 0 and not _stays(each, orders):
            # Where it could go is not asked before it may.
            waiting[each.uid] = "waits until its turn comes (spec.drain.maxUnavailable of the Node)"
            continue
        target, why = _way(each, orders, choose, move)
        if why:
            waiting[each.uid] = why
            left.add(each.uid)
            continue
        rest = [one for one in residents if one.uid not in left]
        blocked = _group(each, orders, known, {*stop, *move})
        if not blocked and target is None:
            blocked = _order(each, rest)
        if blocked:
            waiting[each.uid] = f"waits until {blocked}"
            continue
        room -= 1
        if target is None:
            stop.add(each.uid)
        else:
            move[each.uid] = target
    return Drain(frozenset(stop), move, waiting, frozenset(left))


def _stays(each: Resident, orders: Orders) -> str:
    """Why it is left as it is, wherever it could go; empty if it is not."""
    if each.standing == Standing.PAUSED:
        return "it is paused"
    return "spec.drain.policy of the Node is Stay" if orders.policy == DrainPolicy.STAY else ""


def _way(
    each: Resident, orders: Orders, choose: Choose, promised: Mapping[str, str]
) -> tuple[str | None, str]:
    """Where to move it, or None to stop it; or why it is left as it is."""
    stays = _stays(each, orders)
    if stays:
        return None, stays
    if orders.policy == DrainPolicy.STOP:
        return None, ""
    try:
        return choose(each, promised), ""
    except Refused as refused:
        return None, refused.message if orders.policy == DrainPolicy.MOVE else ""


def _group(each: Resident, orders: Orders, peers: Iterable[Peer], picked: set[str]) -> str:
    """The first of its disruption group that is not up; empty if it may go."""
    if each.group is None or orders.ignore_groups:
        return ""
    mates = [
        one
        for one in peers
        if (one.namespace, one.group) == (each.namespace, each.group) and one.uid != each.uid
    ]
    for one in sorted(mates, key=lambda mate: mate.stack):
        away = "is about to be moved or stopped" if one.uid in picked else one.away
        if away:
            name = f"{one.namespace}/{one.stack}"
            return f"Stack {name} of its disruption group {each.group} is Ready: it {away}"
    return ""


def _order(each: Resident, residents: Sequence[Resident]) -> str:
    """The tenant's guest that is stopped before this one and is not stopped yet."""
    before = [
        one.name
        for one in residents
        if one.namespace == each.namespace
        and one.order > each.order
        and one.standing in (Standing.RUNS, *UNDER_WAY)
    ]
    return f"Stack {min(before)}, whose startup.order is higher, is stopped or gone" if before else ""
