"""What `dsecos status` shows: tables of Stacks, zones and nodes, and everything about one Stack.

Pure: objects in, tables out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dsecos_api import Condition, ConditionStatus, NetworkZone, Node, Stack, Type, quantity
from dsecos_api.base import KubeObject
from rich.console import Group, RenderableType
from rich.text import Text

from dsecos_cli.advice import WAIT, advice_for
from dsecos_cli.ages import age
from dsecos_cli.resources import Object
from dsecos_cli.steps import StepState, Verdict, condition, steps, verdict
from dsecos_cli.terminal import clean, styled, table

MARKS: Mapping[StepState, tuple[str, str]] = {
    StepState.DONE: ("✓", "green"),
    StepState.BUSY: ("…", "yellow"),
    StepState.FAILED: ("✗", "bold red"),
    StepState.WAITING: ("·", "dim"),
    StepState.UNUSED: ("-", "dim"),
}
MAX_EVENTS = 10


@dataclass(frozen=True)
class Overview:
    """Everything that the overview shows, as the API server gave it."""

    stacks: Sequence[Object]
    zones: Sequence[Object]
    nodes: Sequence[Object]

    def to_dict(self) -> dict[str, Any]:
        """The form for programs."""
        return {"stacks": list(self.stacks), "zones": list(self.zones), "nodes": list(self.nodes)}


def render_overview(found: Overview, now: datetime, *, namespaces: bool, wide: bool) -> RenderableType:
    """Three tables, each with its heading; a sentence in place of an empty one."""
    stacks = [Stack.parse(raw) for raw in found.stacks]
    zones = [NetworkZone.parse(raw) for raw in found.zones]
    nodes = [Node.parse(raw) for raw in found.nodes]
    return Group(
        *_section(
            "STACKS",
            _stacks(stacks, now, namespaces=namespaces, wide=wide),
            "No stacks. `dsecos deploy` makes one.",
        ),
        Text(),
        *_section("NETWORK ZONES", _zones(zones, namespaces=namespaces, wide=wide), "No network zones."),
        Text(),
        *_section("NODES", _nodes(nodes, now, wide=wide), "No nodes. `make up` joins this machine."),
    )


Rows = tuple[list[str], list[list[str | Text]]]


def _section(title: str, rows: Rows, empty: str) -> Iterable[RenderableType]:
    headers, cells = rows
    yield Text(title, "bold cyan")
    yield table(headers, cells) if cells else Text(empty)


def _stacks(stacks: Sequence[Stack], now: datetime, *, namespaces: bool, wide: bool) -> Rows:
    headers = ["NAME", "READY", "REASON", "NODE", "ADDRESS", "ENDPOINT", "SINCE"]
    headers = (["NAMESPACE"] if namespaces else []) + headers + (["TEMPLATE", "MESSAGE"] if wide else [])
    rows: list[list[str | Text]] = []
    for stack in stacks:
        ready = _ready(stack.status.conditions)
        row: list[str | Text] = [stack.namespace] if namespaces else []
        row += [stack.name, _status(ready), _reason(stack, ready), stack.status.node or ""]
        row += [
            stack.status.address or "",
            ", ".join(stack.status.endpoints),
            age(ready.last_transition_time if ready else None, now),
        ]
        if wide:
            row += [
                stack.spec.template.name if stack.spec.template else "(compose)",
                ready.message if ready else "",
            ]
        rows.append(row)
    return headers, rows


def _zones(zones: Sequence[NetworkZone], *, namespaces: bool, wide: bool) -> Rows:
    headers = ["NAME", "READY", "REASON", "NETWORK", "EGRESS", "GUESTS", "FREE"]
    headers = (["NAMESPACE"] if namespaces else []) + headers + (["MESSAGE"] if wide else [])
    rows: list[list[str | Text]] = []
    for zone in zones:
        ready = _ready(zone.status.conditions)
        counted = zone.status.addresses
        row: list[str | Text] = [zone.namespace] if namespaces else []
        row += [zone.name, _status(ready), _reason(zone, ready), ", ".join(zone.spec.cidrs)]
        row += [zone.spec.egress.mode if zone.spec.egress else "Deny"]
        row += [str(counted.allocated), str(counted.available)] if counted else ["", ""]
        if wide:
            row.append(ready.message if ready else "")
        rows.append(row)
    return headers, rows


def _nodes(nodes: Sequence[Node], now: datetime, *, wide: bool) -> Rows:
    headers = ["NAME", "READY", "REASON", "ENGINE", "CPU", "MEMORY", "ADDRESS", "SINCE"]
    headers += ["KERNEL", "AGENT", "MESSAGE"] if wide else []
    rows: list[list[str | Text]] = []
    for node in nodes:
        ready, status = _ready(node.status.conditions), node.status
        info, room = status.node_info, status.allocatable
        row: list[str | Text] = [node.name, _status(ready), _reason(node, ready), info.engine if info else ""]
        row += [room.cpu, _gibibytes(room.memory)] if room else ["", ""]
        row += [(status.addresses.management if status.addresses else None) or ""]
        row += [age(ready.last_transition_time if ready else None, now)]
        if wide:
            row += [info.kernel, info.agent] if info else ["", ""]
            row.append(ready.message if ready else "")
        rows.append(row)
    return headers, rows


def render_stack(stack: Stack, events: Sequence[Object], now: datetime) -> RenderableType:
    """Everything about one Stack: steps, services, where it answers, what happened last, what to do next."""
    parts: list[RenderableType] = [
        _headline(stack),
        _facts(stack),
        Text(),
        Text("STEPS", "bold cyan"),
        _steps(stack, now),
    ]
    if stack.status.services:
        headers = ["SERVICE", "STATE", "HEALTH", "RESTARTS", "IMAGE"]
        rows = [[s.name, s.state, s.health or "", str(s.restarts), s.image] for s in stack.status.services]
        parts += [Text(), Text("SERVICES", "bold cyan"), table(headers, rows)]
    if events:
        parts += [Text(), Text("LAST EVENTS", "bold cyan"), _events(events, now)]
    advice = next_step(stack)
    if advice:
        parts += [Text(), Text("NEXT", "bold cyan"), styled(advice)]
    return Group(*parts)


def next_step(stack: Stack) -> str:
    """What to do now, empty where the Stack serves."""
    if verdict(stack) is Verdict.READY:
        return ""
    current = next((s for s in steps(stack) if s.state in (StepState.BUSY, StepState.FAILED)), None)
    ready = condition(stack, Type.READY)
    if ready is None and not (current and current.reason):
        return "Nothing has looked at this Stack yet. Does the operator run? `dsecos doctor` looks."
    reasons = (current.reason if current else "", ready.reason if ready else "")
    actions = [advice.action for reason in reasons if (advice := advice_for(reason)) and advice.action]
    actions.sort(key=lambda action: action == WAIT)
    return actions[0].replace("STACK", f"{stack.name} -n {stack.namespace}") if actions else ""


def newest_first(events: Iterable[Object]) -> list[Object]:
    """The last events, newest first, of both event APIs' forms."""
    return sorted(events, key=event_time, reverse=True)[:MAX_EVENTS]


def event_time(event: Object) -> str:
    """When an event was seen last, RFC 3339."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(time) for time in times if time), str(event["metadata"].get("creationTimestamp") or ""))


def _headline(stack: Stack) -> Text:
    ready = condition(stack, Type.READY)
    text = Text.assemble((clean(f"{stack.namespace}/{stack.name}"), "bold"), "  ")
    text.append_text(_status(ready, true="Ready", false="NotReady"))
    text.append(clean(f"  {_reason(stack, ready)}"))
    if ready and ready.message:
        text.append(clean(f": {ready.message}"))
    return text


def _facts(stack: Stack) -> RenderableType:
    spec, status = stack.spec, stack.status
    rows = [
        ("Application", _source(stack)),
        ("Node", status.node or ""),
        ("Guest", "  ".join(part for part in (status.guest, status.state) if part)),
        ("Zone", "  ".join(part for part in (spec.zone, status.address) if part)),
        (
            "Resources",
            f"{spec.resources.cpu} CPU, {spec.resources.memory} memory, {spec.resources.disk} disk",
        ),
        ("Volumes", ", ".join(f"{v.name} {v.size}" for v in spec.volumes)),
        ("Endpoints", "  ".join(status.endpoints)),
    ]
    grid = table(["", ""], [[f"  {name}", value] for name, value in rows if value])
    grid.show_header = False
    return grid


def _source(stack: Stack) -> str:
    spec = stack.spec
    if spec.adopt:
        return f"{spec.adopt.id} of node {spec.adopt.node}, taken over as it was"
    return f"template {spec.template.name}" if spec.template else "compose document of its own"


def _steps(stack: Stack, now: datetime) -> RenderableType:
    rows: list[list[str | Text]] = []
    for step in steps(stack):
        mark, style = MARKS[step.state]
        detail = f"{step.reason}: {step.message}" if step.message else step.reason
        rows.append([Text(f"  {mark}", style), step.name, styled(detail), age(step.since, now)])
    grid = table(["", "", "", ""], rows)
    grid.show_header = False
    return grid


def _events(events: Sequence[Object], now: datetime) -> RenderableType:
    rows: list[list[str | Text]] = []
    for event in events:
        count = (event.get("series") or {}).get("count") or event.get("count") or 1
        times = f" (x{count})" if count > 1 else ""
        message = str(event.get("message") or event.get("note") or "") + times
        style = "yellow" if event.get("type") == "Warning" else ""
        rows.append(
            [
                f"  {age(event_time(event), now)}",
                styled(event.get("type", ""), style),
                str(event.get("reason", "")),
                message,
            ]
        )
    grid = table(["", "", "", ""], rows)
    grid.show_header = False
    return grid


def _gibibytes(memory: str) -> str:
    """A machine's memory as people say it; its exact value is in the object."""
    return f"{quantity.to_bytes(memory) / 2**30:.1f}Gi"


def _ready(conditions: Iterable[Condition]) -> Condition | None:
    return next((c for c in conditions if c.type == Type.READY), None)


def _status(ready: Condition | None, *, true: str = "True", false: str = "False") -> Text:
    if ready is None or ready.status is ConditionStatus.UNKNOWN:
        return Text("Unknown", "yellow")
    return Text(true, "green") if ready.status is ConditionStatus.TRUE else Text(false, "red")


def _reason(obj: KubeObject, ready: Condition | None) -> str:
    if obj.deleting:
        return "Deleting"
    return ready.reason if ready else ""
