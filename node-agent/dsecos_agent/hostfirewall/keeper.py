"""The transaction: armed, applied, proved, and confirmed or undone.

On file before anything changes stands that it does; what to go back to is there as well. Two know that: the
undo, which needs no agent, and the next agent, which needs no undo.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dsecos_api.hostpolicy import HostFirewall, Uplink
from dsecos_runtime import fault_point, get_logger

from dsecos_agent.adapter_errors import AdapterError, RetryableError
from dsecos_agent.hostfirewall.armed import Undo, nobody_undoes
from dsecos_agent.hostfirewall.probe import Reach, broken, proof
from dsecos_agent.hostfirewall.render import removal, table_name
from dsecos_agent.hostfirewall.state import Enforced, Failed, Pending, State, digest, load, save
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_agent.hostfirewall.undo import Step
from dsecos_agent.uplinks import kernel
from dsecos_agent.uplinks.model import Script
from dsecos_agent.uplinks.plan import script, target

AGENT_ENDED = "the agent ended before it was known whether the API server can still be reached"
LOCK_MARGIN = 30.0
"""Seconds that an undo may take to put things back."""
NFT = ("nft", "-f", "-")


class NotNowError(RetryableError):
    """The API server does not answer already, so nothing could be said about the change: it is not made."""


class UplinksFailedError(AdapterError):
    """The kernel does not take what it took when it was confirmed."""


class Probe(Protocol):
    """How it is told what the node reaches."""

    async def look(self) -> Reach:
        """With new connections, as things are now."""


class Keeper:
    """The only one who changes the table and the uplinks; one call at a time."""

    def __init__(
        self,
        table: HostTable,
        *,
        instance: str,
        folder: Path,
        seconds: float,
        arm: Callable[[Sequence[Step], float, Path], Awaitable[Undo]] = Undo.arm,
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

    def failure(self, firewall: HostFirewall | None, uplinks: Sequence[Uplink] = ()) -> str | None:
        """Why these were undone; None: they may be tried."""
        failed = self._state.failed
        return failed.message if failed is not None and failed.digest == digest(firewall, uplinks) else None

    def forgive(self) -> None:
        """What was undone may be tried again: something else was wanted since."""
        if self._state.failed is not None:
            self._remember(replace(self._state, failed=None))

    def adds_nothing(self, text: str | None, uplinks: Sequence[Uplink]) -> bool:
        """Whether all of it is confirmed already: then nobody can be locked out."""
        confirmed = self.confirmed or Enforced()
        return text in (None, confirmed.text) and tuple(uplinks) in ((), confirmed.uplinks)

    async def recover(self) -> None:
        """Before anything else: go back to what was confirmed.

        Raises FirewallRefusedError, UplinksFailedError, RetryableError.
        """
        pending = self._state.pending
        if pending is not None:
            get_logger().warning("a change of the node's own firewall or uplinks was not confirmed: undone")
            await self._go_back(None if pending.stopped else Failed(pending.digest, AGENT_ENDED))
        if self.confirmed is not None:
            await self.repair()

    async def repair(self) -> list[str]:
        """What of all that is in force had to be put back.

        Raises FirewallRefusedError, UplinksFailedError, RetryableError.
        """
        if self._state.pending is not None:
            await self.recover()
        confirmed = self.confirmed or Enforced()
        repaired = []
        if not await self._table.holds(confirmed.text):
            await self._table.load(confirmed.text)
            repaired.append(f"table inet {table_name(self._instance)}")
        if confirmed.uplinks and await self._repair_uplinks(confirmed.uplinks):
            repaired.append(f"the uplinks {_names(confirmed.uplinks)}")
        return repaired

    async def _repair_uplinks(self, uplinks: Sequence[Uplink]) -> bool:
        observed = await kernel.observe(each.interface for each in uplinks)
        if target(uplinks, observed) == observed:
            return False
        problem = await kernel.bring(uplinks)
        if problem is not None:
            raise UplinksFailedError(f"the uplinks {_names(uplinks)} cannot be put back: {problem}")
        return True

    async def lessen(
        self, firewall: HostFirewall | None, text: str | None, uplinks: Sequence[Uplink]
    ) -> list[str]:
        """No more than this, of what is confirmed; what had to be put back of the rest.

        The table goes; links stay as they are. Raises as `repair` does.
        """
        if self._state.pending is not None:
            await self.recover()
        confirmed = self.confirmed or Enforced()
        left = replace(confirmed, firewall=firewall, text=text, uplinks=tuple(uplinks))
        if left != confirmed:
            nothing = firewall is None and not uplinks
            self._remember(State() if nothing else State(confirmed=left))
            if text is None:
                await self._table.load(None)
        return await self.repair()

    async def change(
        self, firewall: HostFirewall | None, text: str | None, probe: Probe, uplinks: Sequence[Uplink] = ()
    ) -> str | None:
        """Put all of it in force; why it was undone, or None.

        Raises NotNowError, UndoNotArmedError (nothing was touched), FirewallRefusedError (it was undone),
        RetryableError.
        """
        if self._state.pending is not None:
            await self.recover()
        before = await probe.look()
        if before.api is not None:
            raise NotNowError(f"the change waits: {before.api}")
        self._make_folder()
        observed = await kernel.observe(each.interface for each in uplinks)
        pending = Pending(digest(firewall, uplinks), links=script(target(uplinks, observed), observed))
        undo = await self._arm(self._steps(pending.links), self._seconds, self._lock)
        confirmed = self.confirmed or Enforced()
        same = (confirmed.firewall, confirmed.uplinks) == (firewall, tuple(uplinks))
        try:
            self._remember(replace(self._state, pending=pending))
            await self._table.load(text)
            fault_point("host-firewall-apply")
            problem = await kernel.bring(uplinks)
            fault_point("host-uplinks-apply")
            after = await probe.look()
            problem = problem or broken(before, after)
            if problem is None and await undo.confirm():
                proved = Enforced(firewall, text, proof(after), tuple(uplinks))
                # The same with other nodes is no news about what was undone.
                self._remember(State(confirmed=proved, failed=self._state.failed if same else None))
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
            raise RetryableError("the undo of the change ended before its time")
        await self._go_back(self._state.failed if same else Failed(pending.digest, problem))
        return problem

    def _steps(self, links: Script) -> list[Step]:
        """What puts things back, without us."""
        former = (self.confirmed or Enforced()).text
        steps = [Step(NFT, former or removal(self._instance))]
        steps += [Step(kernel.BATCH, links.drop, needed=False)] if links.drop else []
        return steps + ([Step(kernel.BATCH, links.put)] if links.put else [])

    async def _go_back(self, failed: Failed | None) -> None:
        async with nobody_undoes(self._lock, self._seconds + LOCK_MARGIN):
            await self._table.load((self.confirmed or Enforced()).text)
            if self._state.pending is not None:
                said = await kernel.apply(self._state.pending.links)
                get_logger().info("links are put back as they were", problem=said or None)
            self._remember(replace(self._state, pending=None, failed=failed))

    def _make_folder(self) -> None:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _remember(self, state: State) -> None:
        save(self._path, state)
        self._state = state


def _names(uplinks: Sequence[Uplink]) -> str:
    return ", ".join(each.interface for each in uplinks)
