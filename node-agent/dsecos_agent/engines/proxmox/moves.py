"""Moving a guest to another node: a VM live, a container with a stop and a start, by HA where that rules."""

from typing import Any

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import NotFoundError
from dsecos_agent.engines.errors import GuestFailedError, IllegalTransitionError
from dsecos_agent.engines.model import GuestKind, GuestState
from dsecos_agent.engines.proxmox.access import Access, Found, Now
from dsecos_agent.engines.proxmox.pace import back_off
from dsecos_agent.engines.proxmox.places import Place
from dsecos_agent.engines.proxmox.tasks import Resumed


class Moves:
    """`migrate`."""

    def __init__(self, access: Access) -> None:
        """Does nothing yet."""
        self._access = access

    async def migrate(self, name: str, owner_uid: str, target: str) -> None:
        """Move it. Raises NotFoundError, NotOursError, GuestFailedError, IllegalTransitionError."""

        async def step(_: Resumed | None) -> None:
            found = await self._access.ours(name, owner_uid)
            if found is None:
                raise NotFoundError(f"there is no guest {name}")
            if found.place.node == target:
                return
            if target not in (await self._access.places.listing()).nodes:
                raise NotFoundError(f"there is no node {target} in the cluster")
            now = await self._access.now(found.place)
            if now.is_suspended:
                raise IllegalTransitionError(
                    f"guest {name} is {GuestState.SUSPENDED}: resume it before it is moved"
                )
            found.check_lock()
            if now.ha_managed:
                await self._by_ha(name, found.place, now, target)
            else:
                await self._by_task(name, found, now, target)

        await self._access.settled(name, step)

    async def _by_task(self, name: str, found: Found, now: Now, target: str) -> None:
        place = found.place
        how: dict[str, Any] = {"target": target}
        if place.kind is GuestKind.CONTAINER:
            how |= {"restart": True} if now.runs else {}
        else:
            how |= {"online": True} if now.runs else {}
            before = await self._access.client.get(f"{place.path}/migrate", target=target)
            how |= {"with-local-disks": True} if before.get("local_disks") and now.runs else {}
        try:
            await self._access.tasks.run(
                name,
                "migrate",
                node=place.node,
                vmid=place.vmid,
                issue=lambda: self._access.client.post(f"{place.path}/migrate", **how),
                detail=target,
            )
        except GuestFailedError as error:
            # The last step of a container's task is its start over there, which that node's agent sees to.
            if await self._node_of(place) != target:
                raise
            get_logger().warning(
                "guest was moved, though the task says otherwise", guest=name, error=f"{error}"
            )
        await self._arrived(name, place, target, patience=self._access.settings.settle_limit)

    async def _by_ha(self, name: str, place: Place, now: Now, target: str) -> None:
        # Two steps: the manager takes the wish, and some time later does it. A wish that is made again is the
        # same wish, so nothing has to be noted.
        how = "migrate" if now.runs and place.kind is GuestKind.VM else "relocate"
        answer = await self._access.client.post(f"/cluster/ha/resources/{place.sid}/{how}", node=target)
        # Proxmox VE 9 answers with what stands in the way (resource affinity); 8 answers nothing.
        blocking = (answer or {}).get("blocking-resources") or []
        if blocking:
            others = ", ".join(str(one.get("sid")) for one in blocking)
            raise GuestFailedError(f"guest {name} cannot move to {target}: HA keeps it apart from {others}")
        await self._arrived(name, place, target, patience=self._access.settings.limit_of("migrate"))

    async def _arrived(self, name: str, place: Place, target: str, patience: float) -> None:
        begin = self._access.clock.elapsed()
        for pause in back_off(0.2, 5.0):
            there = await self._node_of(place)
            if there == target:
                return
            if self._access.clock.elapsed() - begin > patience:
                where = there or "nowhere to be seen"
                raise GuestFailedError(f"guest {name} was to move to {target} and is {where}")
            await self._access.clock.sleep(pause)

    async def _node_of(self, place: Place) -> str | None:
        there = (await self._access.places.listing()).places.get(place.vmid)
        return None if there is None else there.node
