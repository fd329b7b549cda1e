"""What every operation on a guest does first: resume, find, read, check the owner; and how it is patient.

An operation is a step that looks and then does what is left to do. It is repeated as a whole when somebody
holds the guest, when somebody changed it in between, when it has moved, and when nobody knows whether a call
was carried out: looking again is what tells.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import AdapterError, NotOursError
from dsecos_agent.engines.errors import (
    EngineDeniedError,
    EngineUnreachableError,
    GuestLockedError,
    OutcomeUnknownError,
)
from dsecos_agent.engines.model import ConfigDigest
from dsecos_agent.engines.proxmox import forms, options, privileges, refusals
from dsecos_agent.engines.proxmox.claims import Claims
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.gates import Gates
from dsecos_agent.engines.proxmox.journal import Journal
from dsecos_agent.engines.proxmox.pace import back_off
from dsecos_agent.engines.proxmox.places import Listing, Place, Places
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.tasks import Resumed, Tasks

T = TypeVar("T")

ATTEMPTS = 5
"""Looks at a guest that changes or moves under our hands, before we give up for this time."""


@dataclass(frozen=True, slots=True)
class Found:
    """One guest: where it is, and its configuration as just read."""

    place: Place
    raw: options.Raw

    @property
    def form(self) -> forms.Form:
        """How it is written."""
        return forms.of_found(self.place.kind, self.raw)

    @property
    def digests(self) -> ConfigDigest:
        """Of its configuration, as the next start takes it."""
        return self.form.found_digests(self.raw)

    @property
    def root_disk(self) -> str:
        """The device that holds its root; empty when that cannot be told."""
        return forms.root_disk(self.place.kind, self.raw)

    @property
    def lock(self) -> str:
        """Who holds it."""
        return str(self.raw.get("lock", ""))

    def check_lock(self) -> None:
        """Raise GuestLockedError when somebody holds it: no task is begun that would only fail."""
        if self.lock:
            raise GuestLockedError(f"guest {self.place.vmid} is locked by {self.lock}", self.lock)


@dataclass(frozen=True, slots=True)
class Now:
    """What a guest is doing, as its node says at this moment (`status/current`)."""

    data: dict[str, Any]

    @property
    def runs(self) -> bool:
        """Its processes are there, held or not."""
        return self.data.get("status") == "running"

    @property
    def is_suspended(self) -> bool:
        """A VM that is held, or was saved to disk."""
        held = self.runs and self.data.get("qmpstatus") in {"paused", "suspended"}
        return held or self.data.get("lock") == "suspended"

    @property
    def ha_managed(self) -> bool:
        """The HA manager starts, stops and moves it."""
        return bool(int((self.data.get("ha") or {}).get("managed") or 0))


def is_unfinished(raw: options.Raw) -> bool:
    """A creation that died early leaves an id, mostly locked, and no more (PVE::API2::LXC, create_vm)."""
    return not {"hostname", "name", "rootfs"} & raw.keys()


class Access:
    """Everything that operations share."""

    def __init__(self, settings: ProxmoxSettings, client: Client, journal: Journal, clock: Clock) -> None:
        """Reads nothing yet."""
        self.settings = settings
        self.client = client
        self.journal = journal
        self.clock = clock
        self.gates = Gates(settings)
        self.tasks = Tasks(client, journal, settings, self.gates, clock)
        self.places = Places(client)
        self.claims = Claims(journal, settings)
        self._locks = defaultdict[str, asyncio.Lock](asyncio.Lock)

    async def settled(self, name: str, step: Callable[[Resumed | None], Awaitable[T]]) -> T:
        """Carry out a step, alone for this guest, as often as it needs.

        The step is told what became of a task that was still on its way. Raises what the step raises, and
        GuestLockedError when the lock outlasts our patience.
        """
        async with self._locks[name]:
            begin = self.clock.elapsed()
            attempts = 0
            for pause in back_off(0.2, 5.0):
                try:
                    return await step(await self._resumed(name))
                except GuestLockedError:
                    if self.clock.elapsed() - begin > self.settings.lock_limit:
                        raise
                except refusals.UnnamedPrivilegeError as denied:
                    raise await self._named(denied) from denied
                except (OutcomeUnknownError, refusals.GuestModifiedError, refusals.GuestGoneError) as error:
                    attempts += 1
                    if attempts >= ATTEMPTS:
                        raise
                    get_logger().info("guest is looked at again", guest=name, why=str(error))
                await self.clock.sleep(pause)
            raise AssertionError("pauses have no end")

    async def forget(self, name: str) -> None:
        """Nothing is noted of a guest any more, once nothing is on its way for it."""
        async with self._locks[name]:
            self.claims.release(name)

    async def _resumed(self, name: str) -> Resumed | None:
        try:
            return await self.tasks.resume(name)
        except EngineUnreachableError:
            intent, claim = self.journal.read(name).intent, self.claims.of(name)
            listing = await self.places.listing()
            place = listing.find(name, None, claim.vmid if claim else None)
            if intent is None or place is None or intent.node not in listing.away:
                raise
            if place.node in listing.away:
                raise
            # The guest was moved away from a node that is lost, and what that node was doing to it is over:
            # HA moves nothing before the node is fenced.
            self.journal.write(name, self.journal.read(name).over())
            return Resumed(intent, None)

    async def _named(self, denied: refusals.UnnamedPrivilegeError) -> EngineDeniedError:
        """The same denial with what is missing, where that can be found out."""
        try:
            lacking = privileges.needed_always(await privileges.check(self.client, self.settings))
        except AdapterError:
            return denied
        return EngineDeniedError(f"{denied}. Missing: {', '.join(map(str, lacking))}") if lacking else denied

    async def ours(self, name: str, owner_uid: str) -> Found | None:
        """The guest with its configuration as it is now; None when there is none.

        Raises NotOursError, EngineUnreachableError when its node is away.
        """
        return await self.ours_in(await self.places.listing(), name, owner_uid)

    async def ours_in(self, listing: Listing, name: str, owner_uid: str) -> Found | None:
        """The same with a listing that was just made."""
        claim = self.claims.of(name)
        place = listing.find(name, owner_uid, claim.vmid if claim else None)
        if place is None:
            return None
        if place.node in listing.away:
            raise EngineUnreachableError(f"guest {name} is on node {place.node}, which does not answer")
        raw = await self.config(place)
        owner = options.owner_of(raw)
        if owner is None or (owner.guest, owner.owner_uid) != (name, owner_uid):
            found = owner.owner_uid if owner and owner.guest == name else None
            raise NotOursError("guest", name, wanted=owner_uid, found=found)
        return Found(place, raw)

    async def leftover(self, listing: Listing, name: str, owner_uid: str) -> Found | None:
        """What a creation of ours left under the id that we claimed, not yet marked as it will be.

        Proof that it is ours: its description says so (a clone has it from its first moment), or it has never
        become a guest (neither name nor disk) and the task that reserved its id is one of ours. Everything
        else under that id is somebody else's.
        """
        claim = self.claims.of(name)
        place = listing.places.get(claim.vmid) if claim else None
        if claim is None or claim.adopted or place is None or claim.owner_uid != owner_uid:
            return None
        try:
            raw = await self.config(place)
        except refusals.GuestGoneError:
            return None
        owner = options.claim_of(raw)
        if owner is not None and (owner.guest, owner.owner_uid) == (name, owner_uid):
            return Found(place, raw)
        made = self.journal.read(name).made(claim.vmid) and is_unfinished(raw)
        return Found(place, raw) if owner is None and made else None

    async def config(self, place: Place) -> options.Raw:
        """Its configuration now. Raises GuestGoneError when it is not on that node (any more)."""
        raw: options.Raw = await self.client.get(f"{place.path}/config")
        return raw

    async def put(self, found: Found, to_set: Mapping[str, Any], unwanted: Collection[str] = ()) -> None:
        """Change its configuration, if it is still the one that was read. Raises GuestModifiedError."""
        digest = {"digest": found.raw["digest"]} if "digest" in found.raw else {}
        gone = {"delete": ",".join(unwanted)} if unwanted else {}
        await self.client.put(f"{found.place.path}/config", **to_set, **gone, **digest)

    async def now(self, place: Place) -> Now:
        """What it is doing now. Raises GuestGoneError."""
        return Now(await self.client.get(f"{place.path}/status/current"))
