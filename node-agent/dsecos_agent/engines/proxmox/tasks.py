"""Tasks of Proxmox VE: noted before they begin, resumed after a crash, never begun twice, their result read.

A call that begins a task has four ends: it was refused (nothing happened), its answer names the task, its
answer is lost, or we are killed. The note that is written before tells the last two apart from the first: as
long as it is there, `resume` looks for the task in the node's list, and nobody begins another for that guest.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import AdapterError, NotFoundError
from dsecos_agent.engines.errors import GuestFailedError, OutcomeUnknownError
from dsecos_agent.engines.proxmox import refusals, upid
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.gates import Gates
from dsecos_agent.engines.proxmox.journal import Intent, Journal
from dsecos_agent.engines.proxmox.pace import Pace, back_off
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings

WORKERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "create": frozenset({"vzcreate", "qmcreate"}),
        "clone": frozenset({"vzclone", "qmclone"}),
        "restore": frozenset({"vzrestore", "qmrestore"}),
        "template": frozenset({"vztemplate", "qmtemplate"}),
        "start": frozenset({"vzstart", "qmstart", "hastart"}),
        "shutdown": frozenset({"vzshutdown", "qmshutdown", "hastop", "hashutdown"}),
        "stop": frozenset({"vzstop", "qmstop", "hastop"}),
        "suspend": frozenset({"vzsuspend", "qmpause", "qmsuspend"}),
        "resume": frozenset({"vzresume", "qmresume"}),
        "destroy": frozenset({"vzdestroy", "qmdestroy"}),
        "migrate": frozenset({"vzmigrate", "qmigrate", "hamigrate", "harelocate"}),
        "snapshot": frozenset({"vzsnapshot", "qmsnapshot"}),
        "rollback": frozenset({"vzrollback", "qmrollback"}),
        "remove-snapshot": frozenset({"vzdelsnapshot", "qmdelsnapshot"}),
        "resize": frozenset({"resize"}),
        "configure": frozenset({"qmconfig", "vzconfig"}),
        "move-disk": frozenset({"qmmove", "move_volume"}),
        "backup": frozenset({"vzdump"}),
        "upload": frozenset({"imgcopy"}),
        "download": frozenset({"download"}),
        "remove-volume": frozenset({"imgdel"}),
        "network": frozenset({"reloadnetworkall", "srvreload"}),
    }
)
"""What we call it -> types of workers that it may become (a guest under HA has one of the manager's)."""

HEAVY = frozenset(
    {"create", "clone", "restore", "start", "destroy", "migrate", "rollback", "resize", "backup"}
)
"""Verbs that keep a node busy; those that only wait do not hold the others up."""

BY_MANAGER = frozenset(
    {"hastart", "hastop", "hashutdown", "hamigrate", "harelocate", "vzmigrate", "qmigrate"}
)
"""What the HA manager does in its own name when we ask it to."""

CLOCKS_APART = 600
"""Seconds that the node's clock may be behind ours when a task is looked for by its start."""

_WARNINGS = re.compile(r"WARNINGS: (\d+)")
LOG_LINES = 200
LOG_TAIL = 4096


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task that did what it should."""

    upid: str
    warnings: int = 0
    """How many it told of; they are in its log."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What became of a task that was on its way when we were interrupted."""

    intent: Intent
    result: TaskResult | None
    """None: it failed, or was never begun, or nobody knows. Look at the guest."""

    def result_of(self, verb: str, vmid: int | None, detail: str = "") -> TaskResult | None:
        """Its result, if it was this and is done."""
        same = (self.intent.verb, self.intent.vmid, self.intent.detail) == (verb, vmid, detail)
        return self.result if same else None


def judge(exit_status: str, task: str, what: str) -> TaskResult:
    """Read a task's exit status. Raises what it means."""
    if exit_status == "OK":
        return TaskResult(task)
    if match := _WARNINGS.fullmatch(exit_status):
        return TaskResult(task, int(match[1]))
    if not exit_status:
        raise OutcomeUnknownError(f"{what}: the task has ended, and nothing says how")
    raise refusals.of_text(exit_status, what, GuestFailedError)


class Tasks:
    """Begins tasks and waits for them. One caller a guest at a time: the engine holds its lock."""

    def __init__(
        self,
        client: Client,
        journal: Journal,
        settings: ProxmoxSettings,
        gates: Gates,
        clock: Clock | None = None,
    ) -> None:
        """Nothing is read before it is asked for."""
        self._client = client
        self._journal = journal
        self._settings = settings
        self._gates = gates
        self._clock = clock or Clock()
        self._pace = Pace()

    async def run(
        self,
        guest: str,
        verb: str,
        *,
        node: str,
        vmid: int | None,
        issue: Callable[[], Awaitable[str]],
        detail: str = "",
    ) -> TaskResult:
        """Begin a task with `issue`, a call whose answer is its UPID, and wait for its end.

        `guest` is the name that it is noted under (any text; a template has one, too), `verb` one of WORKERS,
        `detail` tells two tasks of a verb apart. When the same task was on its way already, its result is
        given and `issue` is not called. Raises what the call or the task was refused for (GuestFailedError
        with the task's log where it is nothing particular), and OutcomeUnknownError when the note stays: look
        at the guest, and call again.
        """
        earlier = await self.resume(guest)
        if earlier is not None and (done := earlier.result_of(verb, vmid, detail)) is not None:
            return done
        async with AsyncExitStack() as stack:
            if verb in HEAVY:
                await stack.enter_async_context(self._gates.node(node))
            intent = Intent(verb, node, vmid, self._clock.now(), detail)
            self._journal.write(guest, self._journal.read(guest).begun(intent))
            intent = await self._begin(guest, intent, issue)
            return await self._finish(guest, intent)

    async def resume(self, guest: str) -> Resumed | None:
        """Wait for whatever may be on its way for this guest; None when nothing was.

        Raises EngineUnreachableError and OutcomeUnknownError while that cannot be known: nothing may be
        begun.
        """
        intent = self._journal.read(guest).intent
        if intent is None:
            return None
        get_logger().info("task resumed", guest=guest, verb=intent.verb, vmid=intent.vmid, task=intent.upid)
        if not intent.upid:
            found = await self._search(guest, intent)
            if found is None:
                # Nothing was begun, or it left no trace: the caller looks at the guest before it plans anew.
                self._journal.write(guest, self._journal.read(guest).over())
                return Resumed(intent, None)
            intent = found
        try:
            return Resumed(intent, await self._finish(guest, intent))
        except AdapterError as error:
            if self._journal.read(guest).intent is not None:
                raise
            get_logger().info("resumed task has failed", guest=guest, task=intent.upid, error=str(error))
            return Resumed(intent, None)

    async def _begin(self, guest: str, intent: Intent, issue: Callable[[], Awaitable[str]]) -> Intent:
        try:
            answer = await issue()
        except OutcomeUnknownError:
            found = await self._search(guest, intent)
            if found is None:
                raise
            return found
        except AdapterError:
            # Refused, or never sent: nothing happened.
            self._journal.write(guest, self._journal.read(guest).over())
            raise
        if not upid.is_upid(answer):
            raise OutcomeUnknownError(f"{intent.verb} of {guest}: {str(answer)[:200]!r} is no task id")
        return self._note(guest, replace(intent, upid=answer))

    def _note(self, guest: str, intent: Intent) -> Intent:
        self._journal.write(guest, self._journal.read(guest).begun(intent))
        return intent

    async def _finish(self, guest: str, intent: Intent) -> TaskResult:
        what = f"{intent.verb} of {guest}"
        try:
            exit_status = await self._wait(intent, what)
        except NotFoundError as gone:
            # The node's list of tasks was cut, or the node was installed anew.
            self._journal.write(guest, self._journal.read(guest).over())
            raise OutcomeUnknownError(f"{what}: the node knows nothing of the task any more") from gone
        try:
            result = judge(exit_status, intent.upid, what)
        except GuestFailedError as error:
            error.log = await self._log(intent)
            self._journal.write(guest, self._journal.read(guest).over())
            raise
        except AdapterError:
            self._journal.write(guest, self._journal.read(guest).over())
            raise
        self._journal.write(guest, self._journal.read(guest).over())
        if result.warnings:
            get_logger().warning("task ended with warnings", guest=guest, task=intent.upid)
        return result

    async def _wait(self, intent: Intent, what: str) -> str:
        task = upid.parse(intent.upid)
        begin = self._clock.elapsed()
        limit = self._settings.limit_of(intent.verb)
        for pause in self._pace.pauses(task.kind):
            await self._clock.sleep(pause)
            waited = self._clock.elapsed() - begin
            try:
                status = await self._client.get(_path(task.node, intent.upid) + "/status")
            except (refusals.TaskUnknownError, refusals.InvalidParametersError) as unknown:
                # A node does not always know a task that it has just named.
                if waited > self._settings.settle_limit:
                    raise NotFoundError(str(unknown)) from unknown
                continue
            if status.get("status") == "stopped":
                self._pace.learn(task.kind, waited)
                return _exit_status(status)
            if waited > limit:
                raise OutcomeUnknownError(f"{what}: the task {intent.upid} still runs after {limit:g} s")
        raise AssertionError("pauses have no end")

    async def _search(self, guest: str, intent: Intent) -> Intent | None:
        """Find the task of a call whose answer nobody has read; noted, when found."""
        for pause in back_off():
            known = self._journal.read(guest).ended
            tasks = await self._client.get(
                f"/nodes/{intent.node}/tasks",
                source="all",
                since=max(0, int(intent.since) - CLOCKS_APART),
                vmid=intent.vmid,
            )
            whose = self._settings.identity
            if candidates := [task for task in tasks if _may_be(task, intent, known, whose)]:
                # One that runs before one that has ended, and the latest of them.
                chosen = max(candidates, key=lambda task: (not task.get("endtime"), task["starttime"]))
                get_logger().info("task found", guest=guest, verb=intent.verb, task=chosen["upid"])
                return self._note(guest, replace(intent, upid=chosen["upid"]))
            age = self._clock.now() - intent.since
            if not 0 <= age <= self._settings.settle_limit:
                return None
            await self._clock.sleep(pause)
        raise AssertionError("pauses have no end")

    async def _log(self, intent: Intent) -> str:
        path = _path(upid.parse(intent.upid).node, intent.upid)
        try:
            lines = await self._client.get(f"{path}/log", limit=LOG_LINES)
        except AdapterError:
            return ""
        return "\n".join(str(line.get("t", "")) for line in lines)[-LOG_TAIL:]


def _path(node: str, task: str) -> str:
    return f"/nodes/{node}/tasks/{quote(task, safe=':@!')}"


def _exit_status(status: Mapping[str, Any]) -> str:
    exit_status = str(status.get("exitstatus") or "")
    return "" if exit_status.startswith(("unexpected status", "unable to read tail")) else exit_status


def _may_be(task: Mapping[str, Any], intent: Intent, known: tuple[str, ...], whose: str) -> bool:
    """What an administrator does to the same guest by hand is not what we have asked for."""
    name = task.get("upid")
    if not upid.is_upid(name) or name in known:
        return False
    found = upid.parse(str(name))
    ours = found.user == whose or found.kind in BY_MANAGER
    return ours and task.get("type") in WORKERS.get(intent.verb, frozenset())
