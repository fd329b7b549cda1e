"""Starting, stopping, holding and removing a guest."""

import math
from typing import Any

from dsecos_agent.adapter_errors import NotFoundError, UnsupportedError
from dsecos_agent.engines.errors import (
    GuestFailedError,
    GuestLockedError,
    GuestNotRunningError,
    IllegalTransitionError,
)
from dsecos_agent.engines.model import GuestKind, GuestState, Limits
from dsecos_agent.engines.proxmox import adopted, options, properties, refusals
from dsecos_agent.engines.proxmox.access import Access, Found, Now
from dsecos_agent.engines.proxmox.pace import back_off
from dsecos_agent.engines.proxmox.places import Place
from dsecos_agent.engines.proxmox.tasks import Resumed

NO_SUSPEND = "Proxmox VE holds a container with CRIU, which is experimental there and not installed"


class Lifecycle:
    """The operations that change whether a guest runs."""

    def __init__(self, access: Access) -> None:
        """Does nothing yet."""
        self._access = access

    async def start(self, name: str, owner_uid: str) -> tuple[Found, Now]:
        """Start, and look. Raises NotFoundError, NotOursError, GuestFailedError, BridgeMissingError."""

        async def step(_: Resumed | None) -> tuple[Found, Now]:
            found = await self._access.ours(name, owner_uid)
            if found is None:
                raise NotFoundError(f"there is no guest {name}")
            if found.place.status == "running" and (now := await self._access.now(found.place)).runs:
                return found, now
            found.check_lock()
            found = await self._marked(found)
            try:
                await self._task(name, found.place, "start")
            except refusals.AlreadyRunningError:
                pass
            except GuestFailedError:
                # A start may fail and the guest runs: a time-out of the waiting, not of the guest.
                if not (await self._access.now(found.place)).runs:
                    raise
            started = await self.becomes(found.place, runs=True)
            if started is None:
                raise GuestFailedError(f"guest {name} was started and does not run")
            return found, started

        return await self._access.settled(name, step)

    async def shutdown(self, name: str, owner_uid: str, grace: float) -> bool:
        """Ask, and wait for `grace` seconds. Raises NotOursError, IllegalTransitionError."""

        async def step(resumed: Resumed | None) -> bool:
            found = await self._access.ours(name, owner_uid)
            if found is None:
                return True
            now = await self._access.now(found.place)
            if not now.runs:
                return True
            if now.is_suspended:
                raise IllegalTransitionError(
                    f"guest {name} is {GuestState.SUSPENDED}, and hears no request to shut down"
                )
            if _was_asked(resumed):
                # It was asked before we were interrupted, and has had its time.
                return False
            return await self._shut_down(name, found, grace)

        return await self._access.settled(name, step)

    async def stop(self, name: str, owner_uid: str, grace: float) -> None:
        """Ask, then kill. Raises NotOursError, GuestFailedError."""

        async def step(resumed: Resumed | None) -> None:
            found = await self._access.ours(name, owner_uid)
            if found is not None:
                await self.halt(name, found, 0 if _was_asked(resumed) else grace)

        await self._access.settled(name, step)

    async def halt(self, name: str, found: Found, grace: float) -> None:
        """Stop it, within a step. Raises GuestFailedError when it survives even that."""
        now = await self._access.now(found.place)
        if not now.runs:
            return
        if now.is_suspended and grace > 0:
            await self._task(name, found.place, "resume")
        if grace > 0 and await self._shut_down(name, found, grace):
            return
        try:
            await self._task(name, found.place, "stop")
        except GuestNotRunningError:
            return
        if await self.becomes(found.place, runs=False) is None:
            raise GuestFailedError(f"guest {name} still runs after it was killed")

    async def hold(self, name: str, owner_uid: str, *, suspended: bool) -> None:
        """Suspend or resume. Raises GuestNotRunningError, NotOursError, UnsupportedError."""

        async def step(_: Resumed | None) -> None:
            found = await self._access.ours(name, owner_uid)
            if found is None:
                raise GuestNotRunningError(f"there is no guest {name}")
            if found.place.kind is GuestKind.CONTAINER:
                raise UnsupportedError(f"guest {name} is a container: {NO_SUSPEND}")
            now = await self._access.now(found.place)
            if not now.runs:
                raise GuestNotRunningError(f"guest {name} does not run")
            if now.is_suspended is not suspended:
                await self._task(name, found.place, "suspend" if suspended else "resume")

        await self._access.settled(name, step)

    async def limit(self, name: str, owner_uid: str, limits: Limits) -> None:
        """Change a running container's limits.

        Raises GuestNotRunningError, NotOursError, UnsupportedError.
        """

        async def step(_: Resumed | None) -> None:
            found = await self._access.ours(name, owner_uid)
            if found is None or not (await self._access.now(found.place)).runs:
                raise GuestNotRunningError(f"guest {name} does not run")
            if found.place.kind is GuestKind.VM:
                raise UnsupportedError(f"guest {name} is a VM, which takes new limits at its next start")
            found.check_lock()
            if options.marks_of(found.raw).adopted:
                if to_set := adopted.limits(limits):
                    await self._access.put(found, to_set)
                return
            cores = options.cores(limits)
            to_set = {"cpulimit": options.cpulimit(limits), "memory": options.memory_mib(limits)}
            to_set |= {"cores": cores} if cores else {}
            await self._access.put(found, to_set, ["cores"] if not cores and "cores" in found.raw else [])

        await self._access.settled(name, step)

    async def destroy(self, name: str, owner_uid: str) -> None:
        """Remove it from HA, stop it, remove it with its disks, and look that it is gone."""

        async def step(_: Resumed | None) -> None:
            listing = await self._access.places.listing()
            found = await self._access.ours_in(listing, name, owner_uid)
            if found is not None:
                found.check_lock()
                if properties.is_true(found.raw.get("protection", 0)):
                    # Proxmox VE would say so when it is dead already.
                    raise IllegalTransitionError(
                        f"guest {name} ({found.place.vmid}) is not destroyed: its protection is on"
                    )
                await self._leave_ha(found.place)
                await self.halt(name, found, 0)
                # Of a guest that was there before nobody knows what else its id is written on.
                await self.remove(name, found.place, all_disks=not options.marks_of(found.raw).adopted)
            elif (leftover := await self._access.leftover(listing, name, owner_uid)) is not None:
                await self.remove(name, leftover.place)
            self._access.claims.release(name)

        await self._access.settled(name, step)

    async def remove(self, name: str, place: Place, *, all_disks: bool = True) -> None:
        """Remove a stopped guest, within a step, and look that it is gone.

        `all_disks`: also those with its id that its configuration does not name.
        """
        how = {"purge": True, "destroy-unreferenced-disks": all_disks}
        try:
            await self._access.tasks.run(
                name,
                "destroy",
                node=place.node,
                vmid=place.vmid,
                issue=lambda: self._access.client.delete(place.path, **how),
            )
        except GuestLockedError as error:
            if error.lock != "create":
                raise
            # `force` destroys a running container, not a locked one (PVE::API2::LXC, destroy_vm).
            raise GuestLockedError(
                f"{place.vmid} on {place.node} was left locked by a creation of {name} that died; only root "
                f"on the node can unlock it: pct unlock {place.vmid}",
                error.lock,
            ) from error
        left = (await self._access.places.listing()).places.get(place.vmid)
        if left is not None and left.marks == place.marks:
            raise GuestFailedError(f"guest {name} ({place.vmid}) is still there after it was destroyed")

    async def _leave_ha(self, place: Place) -> None:
        # Under HA a stop is a wish to the manager, who would start it again, and a destroy is refused.
        if (await self._access.now(place)).ha_managed:
            await self._access.client.delete(f"/cluster/ha/resources/{place.sid}")

    async def _marked(self, found: Found) -> Found:
        # The mark says what the present life was started with. It is written at creation and with every
        # change of a stopped guest, so a start costs a call more only after a change while it ran. /pending
        # would be one more call for each guest in each look, and does not know what we compare.
        boot = found.digests.boot
        if options.marks_of(found.raw).boot == boot:
            return found
        await self._access.put(found, options.booted(found.raw, boot))
        return Found(found.place, await self._access.config(found.place))

    async def _shut_down(self, name: str, found: Found, grace: float) -> bool:
        seconds = math.ceil(grace)
        try:
            await self._task(name, found.place, "shutdown", timeout=seconds)
        except GuestNotRunningError:
            return True
        except GuestFailedError:
            return not (await self._access.now(found.place)).runs
        return await self.becomes(found.place, runs=False) is not None

    async def becomes(self, place: Place, *, runs: bool) -> Now | None:
        """Look whether it is so; under HA the task only handed the wish on, so wait. None: it is not."""
        begin = self._access.clock.elapsed()
        for pause in back_off(0.2):
            now = await self._access.now(place)
            if now.runs is runs:
                return now
            waited = self._access.clock.elapsed() - begin
            if not now.ha_managed or waited > self._access.settings.limit_of("start"):
                return None
            await self._access.clock.sleep(pause)
        raise AssertionError("pauses have no end")

    async def _task(self, name: str, place: Place, verb: str, **parameters: Any) -> None:
        await self._access.tasks.run(
            name,
            verb,
            node=place.node,
            vmid=place.vmid,
            issue=lambda: self._access.client.post(f"{place.path}/status/{verb}", **parameters),
        )


def _was_asked(resumed: Resumed | None) -> bool:
    return resumed is not None and resumed.intent.verb == "shutdown" and bool(resumed.intent.upid)
