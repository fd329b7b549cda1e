"""Networks by Proxmox VE's SDN: all changes are staged, then applied once, then looked at.

To apply is a matter of the whole cluster: it takes along whatever anybody has staged. So nothing is staged or
applied while others have staged something, callers that come at the same time share one round, and where
there is the lock of SDN (since 9.1) it is held. The task that applies may end with OK although a node has
failed (seen on a real node), so what counts is what each node then tells of our zones.
"""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dsecos_agent.adapter_errors import AdapterError, NotFoundError, RetryableError, UnsupportedError
from dsecos_agent.engines.proxmox import sdn_plan
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.sdn_plan import Found, Network, Step
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.tasks import Tasks
from dsecos_agent.processes.files import write_atomically

LOG_LINES = 50


class StagedByOthersError(RetryableError):
    """Somebody has changes staged that are not ours to apply; the message names them."""


class NotAppliedError(RetryableError):
    """The change was staged, and a node has not taken it over; the message says which, and what it says."""


class _Round:
    """What the callers of one round want, and whether it is done."""

    def __init__(self) -> None:
        self.wanted: dict[str, Network] = {}
        self.gone: set[str] = set()
        self.error: BaseException | None = None
        self.done = False


class Sdn:
    """Networks of one cluster. `note` is a file of ours that remembers a lock that we hold."""

    def __init__(self, client: Client, tasks: Tasks, settings: ProxmoxSettings, note: Path) -> None:
        """Nothing is asked yet."""
        self._client = client
        self._tasks = tasks
        self._settings = settings
        self._note = note
        self._lock = asyncio.Lock()
        self._next = _Round()

    async def ensure(self, wanted: Collection[Network] = (), gone: Collection[str] = ()) -> None:
        """Let networks be there, and those of the UIDs in `gone` not, on every node that is online.

        `gone` is for networks that no node needs any more. Raises NotOursError, StagedByOthersError,
        NotAppliedError, UnsupportedError; the callers of one round share its error.
        """
        mine = self._next
        mine.wanted |= {network.owner_uid: network for network in wanted}
        mine.gone |= set(gone)
        async with self._lock:
            if not mine.done:
                self._next, mine.done = _Round(), True
                try:
                    await self._run(list(mine.wanted.values()), mine.gone - set(mine.wanted))
                except AdapterError as error:
                    mine.error = error
                except BaseException:
                    mine.error = RetryableError("the round of SDN changes was interrupted")
                    raise
        if mine.error is not None:
            raise mine.error

    async def _run(self, wanted: list[Network], gone: set[str]) -> None:
        await self._release_forgotten()
        found = await self._found()
        ours = sdn_plan.names(wanted, gone)
        if theirs := sorted(f"{name} ({state})" for name, state in found.staged.items() if name not in ours):
            raise StagedByOthersError(f"changes of SDN are staged that are not ours: {', '.join(theirs)}")
        steps = sdn_plan.plan(wanted, gone, found)
        names = {network.name for network in wanted}
        if not steps and not found.staged and not await self._failing(names):
            return
        log = await self._change(steps, allow_staged=bool(found.staged))
        failing = await self._failing(names)
        staged = sorted(set((await self._found()).staged) & ours)
        if failing or staged:
            told = [*failing, *(f"{name} is still staged" for name in staged), *log]
            raise NotAppliedError(f"networks were not applied everywhere: {'; '.join(told)}")

    async def _change(self, steps: list[Step], *, allow_staged: bool) -> list[str]:
        """Stage and apply under the lock; what the task's log says of failures."""
        token = await self._locked(allow_staged=allow_staged)
        with_token = {"lock-token": token} if token else {}
        release = {"release-lock": 1, **with_token} if token else {}
        try:
            for step in steps:
                call = {"POST": self._client.post, "PUT": self._client.put, "DELETE": self._client.delete}
                await call[step.method](step.path, **step.parameters, **with_token)
            result = await self._tasks.run(
                "sdn",
                "network",
                node=self._settings.node,
                vmid=None,
                issue=lambda: self._client.put("/cluster/sdn", **release),
            )
        except AdapterError:
            if token:
                await self._rolled_back(release)
            raise
        self._note.unlink(missing_ok=True)
        return await self._failures(result.upid)

    async def _locked(self, *, allow_staged: bool) -> str:
        """The token of SDN's lock; empty where there is none (before 9.1)."""
        try:
            answer = await self._client.post(
                "/cluster/sdn/lock", **({"allow-pending": 1} if allow_staged else {})
            )
        except UnsupportedError:
            return ""
        token = str(answer or "")
        self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self._note, token)
        return token

    async def _rolled_back(self, release: dict[str, Any]) -> None:
        # Should it fail, too, the lock's note stays, and the next round begins with it.
        await self._client.post("/cluster/sdn/rollback", **release)
        self._note.unlink(missing_ok=True)

    async def _release_forgotten(self) -> None:
        """Give back a lock that we were killed with; what was staged under it is planned anew."""
        try:
            token = self._note.read_text().strip()
        except FileNotFoundError:
            return
        try:
            await self._client.delete("/cluster/sdn/lock", **{"lock-token": token})
        except (UnsupportedError, NotFoundError):
            pass
        except RetryableError:
            raise
        except AdapterError:
            # It is not ours any more: somebody has taken it by force.
            pass
        self._note.unlink(missing_ok=True)

    async def _found(self) -> Found:
        zones = await self._client.get("/cluster/sdn/zones")
        vnets = await self._client.get("/cluster/sdn/vnets")
        staged = {
            str(item[key]): str(item["state"])
            for key in ("zone", "vnet")
            for item in await self._client.get(f"/cluster/sdn/{key}s", pending=1)
            if item.get("state")
        }
        ours = [str(vnet["vnet"]) for vnet in vnets if str(vnet.get("alias", "")).startswith(sdn_plan.ALIAS)]
        subnets = {name: await self._client.get(f"/cluster/sdn/vnets/{name}/subnets") for name in ours}
        return Found(
            {str(zone["zone"]): zone for zone in zones},
            {str(vnet["vnet"]): vnet for vnet in vnets},
            subnets,
            staged,
        )

    async def _failing(self, names: Collection[str]) -> list[str]:
        """What each node that is online says of our zones that are not available there."""
        told: list[str] = []
        if not names:
            return told
        nodes = [item["node"] for item in await self._client.get("/nodes") if item.get("status") == "online"]
        for node in sorted(nodes):
            states = {
                zone["zone"]: zone.get("status")
                for zone in await self._client.get(f"/nodes/{node}/sdn/zones")
            }
            for name in sorted(names):
                if states.get(name) != "available":
                    told.append(await self._said(node, name, str(states.get(name) or "missing")))
        return told

    async def _said(self, node: str, zone: str, state: str) -> str:
        try:
            content = await self._client.get(f"/nodes/{node}/sdn/zones/{zone}/content")
        except AdapterError:
            content = []
        why = "; ".join(str(item["statusmsg"]) for item in content if item.get("statusmsg"))
        return f"{zone} on {node} is {state}" + (f" ({why})" if why else "")

    async def _failures(self, upid: str) -> list[str]:
        """Lines of the task's log that tell of a failure, which its OK may hide."""
        node = upid.split(":")[1]
        try:
            lines = await self._client.get(f"/nodes/{node}/tasks/{upid}/log", limit=LOG_LINES)
        except AdapterError:
            return []
        said = [str(line.get("t", "")) for line in lines]
        return [line for line in said if "failed" in line.lower() or "error" in line.lower()]
