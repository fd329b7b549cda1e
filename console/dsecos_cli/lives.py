"""What `dsecos guests` shows: where each guest is in its life, and how it came there.

A Guest knows more than its Stack, but lies in its node's namespace, where tenants may not look; then what the
Stack tells is shown. Pure: objects in, tables out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dsecos_api import Guest, Stack, Type
from dsecos_api.conditions import Condition
from dsecos_api.lifecycle import Lifecycle, Transition
from dsecos_api.names import NODE_NAMESPACE_PREFIX
from dsecos_api.stack import ServiceStatus
from dsecos_api.types import GuestType
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dsecos_cli.ages import age
from dsecos_cli.terminal import styled, table

STYLES = {"Running": "green", "Stopped": "dim", "Suspended": "cyan"}
"""Of the states in which a guest rests; the others are on the way."""
SHOWN = 3
"""Transitions that `wide` shows; all that are known are in `--transitions`."""


@dataclass(frozen=True, slots=True)
class Life:
    """One guest, or a Stack that has none or whose Guest may not be read. Empty text: not known."""

    namespace: str
    stack: str
    guest: str
    type: str
    state: str
    node: str
    engine_id: str
    address: str
    services: Sequence[ServiceStatus]
    ready: Condition | None
    drift: Sequence[str]
    lifecycle: Lifecycle | None

    @property
    def transitions(self) -> Sequence[Transition]:
        """What is known of its past, the newest first."""
        return self.lifecycle.transitions if self.lifecycle else ()

    @property
    def healthy(self) -> str:
        """Services that run and are not unhealthy, of all that there are."""
        well = sum(s.state == "running" and s.health in (None, "", "healthy") for s in self.services)
        return f"{well}/{len(self.services)}" if self.services else ""


def lives(stacks: Iterable[Stack], guests: Iterable[Guest]) -> list[Life]:
    """One entry for each Guest, and for each Stack of which there is none here, by namespace and name."""
    known = [_of_guest(guest) for guest in guests]
    covered = {(life.namespace, life.stack) for life in known}
    rest = [_of_stack(stack) for stack in stacks if (stack.namespace, stack.name) not in covered]
    return sorted([*known, *rest], key=lambda life: (life.namespace, life.stack, life.node))


def render(found: Sequence[Life], now: datetime, *, namespaces: bool, wide: bool) -> RenderableType:
    """A row for each guest."""
    if not found:
        return Text("No guests. `dsecos deploy` makes one.")
    headers = ["NAME", "STATE", "SINCE", "CAUSE", "NODE", "ID", "ADDRESS", "HEALTHY"]
    headers = (["NAMESPACE"] if namespaces else []) + headers
    headers += ["TYPE", "LAST", "DRIFT", "MESSAGE"] if wide else []
    return table(headers, [_row(life, now, namespaces=namespaces, wide=wide) for life in found])


def render_transitions(found: Sequence[Life], now: datetime) -> RenderableType:
    """The history of each guest, the newest first."""
    parts: list[RenderableType] = []
    for life in found:
        where = f"{life.guest or 'no guest yet'} on {life.node}" if life.node else "no guest yet"
        name = styled(f"{life.namespace}/{life.stack}", "bold cyan")
        parts += [Text()] if parts else []
        parts.append(Text.assemble(name, "  ", styled(where)))
        parts.append(_history(life, now) if life.transitions else Text("  No history is known."))
    return Group(*parts)


def _history(life: Life, now: datetime) -> Table:
    headers = ["  AGE", "TIME", "FROM", "TO", "CAUSE", "MESSAGE"]
    return table(
        headers,
        [
            [
                f"  {age(step.time, now)}",
                step.time,
                step.from_.value if step.from_ else "",
                Text(step.to.value, STYLES.get(step.to.value, "yellow")),
                step.cause.value,
                step.message,
            ]
            for step in life.transitions
        ],
    )


def _row(life: Life, now: datetime, *, namespaces: bool, wide: bool) -> list[str | Text]:
    past = life.lifecycle
    row: list[str | Text] = [life.namespace] if namespaces else []
    row += [life.stack, Text(life.state or "Unknown", STYLES.get(life.state, "yellow"))]
    row += [age(past.since, now), past.cause.value] if past else ["", ""]
    row += [life.node, life.engine_id, life.address, life.healthy]
    if wide:
        last = (f"{step.to.value} {age(step.time, now)}" for step in life.transitions[:SHOWN])
        row += [life.type, " < ".join(last), ", ".join(life.drift), life.ready.message if life.ready else ""]
    return row


def _of_guest(guest: Guest) -> Life:
    spec, status = guest.spec, guest.status
    return Life(
        namespace=spec.stack_ref.namespace,
        stack=spec.stack_ref.name,
        guest=guest.name,
        type=spec.type.value,
        state=status.lifecycle.state.value if status.lifecycle else "",
        node=guest.namespace.removeprefix(NODE_NAMESPACE_PREFIX),
        engine_id=status.engine_id or "",
        address=spec.network.address if spec.network else "",
        services=status.services,
        ready=_ready(status.conditions),
        drift=status.drift,
        lifecycle=status.lifecycle,
    )


def _of_stack(stack: Stack) -> Life:
    status = stack.status
    return Life(
        namespace=stack.namespace,
        stack=stack.name,
        guest=status.guest or "",
        type=(stack.spec.type or GuestType.CONTAINER).value,
        state=status.state.value if status.state else "",
        node=status.node or "",
        engine_id="",
        address=status.address or "",
        services=status.services,
        ready=_ready(status.conditions),
        drift=(),
        lifecycle=None,
    )


def _ready(conditions: Iterable[Condition]) -> Condition | None:
    return next((c for c in conditions if c.type == Type.READY), None)
