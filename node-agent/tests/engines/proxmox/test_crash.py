"""Killed at any point, an operation that is called again ends as if nothing had been.

"Killed" is an exception that nothing catches, raised before or after one of the engine's notes and calls; a
new engine on the same state then goes on, as the agent would after a restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from dsecos_agent.engines.model import GuestConfig, GuestKind, Limits, ObservedGuest
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine

from .world import GIB, OWNER, Lab, config, lab

CONTAINER, VM = GuestKind.CONTAINER, GuestKind.VM


class Killed(BaseException):  # not an error: the end
    """The process ends here."""


class Points:
    """Counts what was passed, and ends the process at one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.passed: list[str] = []
        self._last = last

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if self._last is not None and len(self.passed) > self._last:
            raise Killed(point)


@dataclass(frozen=True)
class Operation:
    """What is done, and what has to be there before."""

    name: str
    do: Callable[[ProxmoxEngine, str, GuestKind], Awaitable[object]]
    before: tuple[Callable[[ProxmoxEngine, str, GuestKind], Awaitable[object]], ...] = ()
    kinds: tuple[GuestKind, ...] = (CONTAINER, VM)


def alike(name: str, kind: GuestKind) -> GuestConfig:
    """The same for all but its name, so that digests can be compared."""
    return config(name, kind=kind, hostname="guest", interfaces=config("same").interfaces)


def write(engine: ProxmoxEngine, name: str, kind: GuestKind) -> Awaitable[object]:
    return engine.write_config(alike(name, kind))


def rewrite(engine: ProxmoxEngine, name: str, kind: GuestKind) -> Awaitable[object]:
    return engine.write_config(replace(alike(name, kind), hostname="other"))


def start(engine: ProxmoxEngine, name: str, kind: GuestKind) -> Awaitable[object]:
    return engine.start(name, OWNER)


def suspend(engine: ProxmoxEngine, name: str, kind: GuestKind) -> Awaitable[object]:
    return engine.suspend(name, OWNER)


def snapshot(engine: ProxmoxEngine, name: str, kind: GuestKind) -> Awaitable[object]:
    return engine.snapshot(name, OWNER, "s1")


OPERATIONS = (
    Operation("create", write),
    Operation("change", rewrite, (write,)),
    Operation("change-running", rewrite, (write, start)),
    Operation("start", start, (write,)),
    Operation(
        "start-after-change", start, (write, start, rewrite, lambda e, n, k: e.stop(n, OWNER, grace=0))
    ),
    Operation("shutdown", lambda e, n, k: e.shutdown(n, OWNER, grace=20), (write, start)),
    Operation("stop", lambda e, n, k: e.stop(n, OWNER, grace=0), (write, start)),
    Operation("stop-with-grace", lambda e, n, k: e.stop(n, OWNER, grace=20), (write, start)),
    Operation("suspend", suspend, (write, start), (VM,)),
    Operation("resume", lambda e, n, k: e.resume(n, OWNER), (write, start, suspend), (VM,)),
    Operation("destroy", lambda e, n, k: e.destroy(n, OWNER), (write,)),
    Operation("destroy-running", lambda e, n, k: e.destroy(n, OWNER), (write, start)),
    Operation(
        "limit", lambda e, n, k: e.set_limits(n, OWNER, Limits(2000, GIB)), (write, start), (CONTAINER,)
    ),
    Operation("resize", lambda e, n, k: e.resize_disk(n, OWNER, 9 * GIB), (write,)),
    Operation("snapshot", snapshot, (write, start)),
    Operation("rollback", lambda e, n, k: e.rollback(n, OWNER, "s1"), (write, start, snapshot)),
    Operation("forget-snapshot", lambda e, n, k: e.remove_snapshot(n, OWNER, "s1"), (write, snapshot)),
    Operation("migrate", lambda e, n, k: e.migrate(n, OWNER, "pve2"), (write, start)),
    Operation("migrate-stopped", lambda e, n, k: e.migrate(n, OWNER, "pve2"), (write,)),
)
CASES = [pytest.param(one, kind, id=f"{one.name}-{kind}") for one in OPERATIONS for kind in one.kinds]


@dataclass(frozen=True)
class Outcome:
    """What has to be the same, however often it was interrupted."""

    guest: ObservedGuest | None
    snapshots: tuple[str, ...]
    tasks: Counter[str]
    guests: int


async def outcome(made: Lab, name: str, since: int) -> Outcome:
    engine = made.engine(state=name)
    guest = await engine.get(name)
    snapshots = tuple(s.name for s in await engine.list_snapshots(name)) if guest else ()
    listed = [one for one in await engine.list_guests() if one.name == name]
    await engine.close()
    tasks = Counter(task.type for task in made.simulator.issued()[since:])
    known = (
        None
        if guest is None
        else replace(guest, name="", engine_id="", ports=(), settings={}, config_digest="")
    )
    return Outcome(known, snapshots, tasks, len(listed))


async def interrupted(
    made: Lab, operation: Operation, kind: GuestKind, name: str, last: int | None
) -> Points:
    """Prepare, carry out and kill; then go on with a new engine. Gives the points of the first try."""
    engine = made.engine(state=name)
    for step in operation.before:
        await step(engine, name, kind)
    await engine.close()
    points = Points(last)
    engine = made.engine(state=name, point=points)
    try:
        await operation.do(engine, name, kind)
    except Killed:
        pass
    finally:
        await engine.close()
    if last is not None:
        engine = made.engine(state=name)
        await operation.do(engine, name, kind)
        await engine.close()
    return points


@pytest.mark.parametrize(("operation", "kind"), CASES)
async def test_killed_at_any_point_nothing_is_lost_and_nothing_is_done_twice(
    operation: Operation, kind: GuestKind, tmp_path: Path
) -> None:
    with lab(tmp_path, nodes=("pve1", "pve2")) as made:
        made.add_machine_template()
        points = (await interrupted(made, operation, kind, "whole", None)).passed
        expected = await outcome(made, "whole", 0)
        assert len(points) > 1
        for last, point in enumerate(points):
            if " GET " in point or (last > 0 and "before" in point):
                # Nothing is different from the point before.
                continue
            if last == len(points) - 1 and operation.name == "rollback":
                # Its result was read: the next one is another, somebody may have used the guest in between.
                continue
            since = len(made.simulator.issued())
            name = f"cut-{last}"
            await interrupted(made, operation, kind, name, last)
            assert await outcome(made, name, since) == expected, f"killed at point {last}: {point}"


async def test_a_task_that_is_on_its_way_is_waited_for_before_another_is_begun(tmp_path: Path) -> None:
    with lab(tmp_path) as made:
        points = Points()
        engine = made.engine(point=points)
        await engine.write_config(config("one"))
        await engine.close()
        after_create = points.passed.index("proxmox-after POST /nodes/{node}/lxc")
        engine = made.engine(state="other", point=Points(after_create))
        with pytest.raises(Killed):
            await engine.write_config(config("two"))
        await engine.close()
        again = made.engine(state="other")
        # Another operation than the one that was interrupted: it waits all the same.
        await again.stop("two", OWNER, grace=0)
        assert [guest.name for guest in await again.list_guests()] == ["one", "two"]
        await again.close()
        assert len(made.simulator.issued("vzcreate")) == 2
