"""The transaction: armed, applied, proved, and confirmed or undone.

On file before the rules change stands that they do; the file's `confirmed` is what to go back to. Two know
that: the undo, which needs no agent, and the next agent, which needs no undo.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dsecos_api.hostpolicy import HostFirewall
from dsecos_runtime import fault_point, get_logger

from dsecos_agent.adapter_errors import AdapterError, RetryableError
from dsecos_agent.hostfirewall.armed import Undo, nobody_undoes
from dsecos_agent.hostfirewall.probe import Reach, broken, proof
from dsecos_agent.hostfirewall.render import removal
from dsecos_agent.hostfirewall.state import Enforced, Failed, Pending, State, digest, load, save
from dsecos_agent.hostfirewall.table import HostTable

AGENT_ENDED = "the agent ended before it was known whether the API server can still be reached"
LOCK_MARGIN = 30.0
"""Seconds that an undo may take to load the former rules."""


class NotNowError(RetryableError):
    """The API server does not answer already, so nothing could be said about the change: it is not made."""


class Probe(Protocol):
    """How it is told what the node reaches."""

    async def look(self) -> Reach:
        """With new connections, as things are now."""


class Keeper:
    """The only one who changes the table; one call at a time."""

    def __init__(
        self,
        table: HostTable,
        *,
        instance: str,
        folder: Path,
        seconds: float,
        arm: Callable[[str, float, Path], Awaitable[Undo]] = Undo.arm,
    ) -> None:
        """`folder` holds the files; `seconds` until a change that nobody has confirmed is undone."""
        self._table = table
        self._instance = instance
        self._path = folder / "host-firewall.json"
        self._lock = folder / "host-firewall.lock"
        self._seconds = seconds
        self._arm = arm
        self._state = load(self._path)

    @property
    def confirmed(self) -> Enforced | None:
        """What is in force."""
        return self._state.confirmed

    def failure(self, firewall: HostFirewall) -> str | None:
        """Why this firewall was undone; None: it may be tried."""
        failed = self._state.failed
        return failed.message if failed is not None and failed.digest == digest(firewall) else None

    async def recover(self) -> None:
        """Before anything else: go back to what was confirmed.

        Raises FirewallRefusedError, RetryableError.
        """
        pending = self._state.pending
        if pending is not None:
            get_logger().warning("a change of the node's own firewall was not confirmed: undone")
            await self._go_back(None if pending.stopped else Failed(pending.digest, AGENT_ENDED))
        elif self.confirmed is not None:
            await self.repair()

    async def repair(self) -> bool:
        """Whether what is in force had to be put back. Raises FirewallRefusedError, RetryableError."""
        if self._state.pending is not None:
            await self.recover()
            return True
        text = None if self.confirmed is None else self.confirmed.text
        if await self._table.holds(text):
            return False
        await self._table.load(text)
        return True

    async def clear(self) -> bool:
        """No firewall any more; whether there was one. Nobody is locked out by that.

        Raises FirewallRefusedError, RetryableError.
        """
        if self._state.pending is not None:
            await self.recover()
        if self._state != State():
            self._remember(State())
        return await self.repair()

    async def change(self, firewall: HostFirewall, text: str, probe: Probe) -> str | None:
        """Put it in force; why it was undone, or None.

        Raises NotNowError, UndoNotArmedError (nothing was touched), FirewallRefusedError (nor was it),
        RetryableError.
        """
        if self._state.pending is not None:
            await self.recover()
        before = await probe.look()
        if before.api is not None:
            raise NotNowError(f"the change waits: {before.api}")
        self._make_folder()
        undo = await self._arm(self._former, self._seconds, self._lock)
        pending = Pending(digest(firewall))
        try:
            self._remember(replace(self._state, pending=pending))
            await self._table.load(text)
            fault_point("host-firewall-apply")
            problem = broken(before, await probe.look())
            if problem is None and await undo.confirm():
                proved = Enforced(firewall, text, proof(before))
                self._remember(State(confirmed=proved))
                return None
        except AdapterError:
            undo.abandon()
            await self._go_back(self._state.failed)
            raise
        except BaseException:
            undo.abandon()
            self._remember(replace(self._state, pending=replace(pending, stopped=True)))
            raise
        undo.abandon()
        if problem is None:
            await self._go_back(self._state.failed)
            raise RetryableError("the undo of the node's own firewall ended before its time")
        same = self.confirmed is not None and self.confirmed.firewall == firewall
        await self._go_back(self._state.failed if same else Failed(pending.digest, problem))
        return problem

    @property
    def _former(self) -> str:
        return removal(self._instance) if self.confirmed is None else self.confirmed.text

    async def _go_back(self, failed: Failed | None) -> None:
        async with nobody_undoes(self._lock, self._seconds + LOCK_MARGIN):
            await self._table.load(None if self.confirmed is None else self.confirmed.text)
            self._remember(replace(self._state, pending=None, failed=failed))

    def _make_folder(self) -> None:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _remember(self, state: State) -> None:
        save(self._path, state)
        self._state = state
