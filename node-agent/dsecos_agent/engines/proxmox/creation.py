"""Making a guest, and writing its configuration."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

from dsecos_runtime import get_logger

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.engines.errors import GuestLockedError, ImageMissingError
from dsecos_agent.engines.model import Adopted, GuestConfig, GuestKind
from dsecos_agent.engines.proxmox import (
    adopted,
    adoption,
    container,
    forms,
    machine,
    options,
    properties,
    refusals,
)
from dsecos_agent.engines.proxmox.access import Access, Found, is_unfinished
from dsecos_agent.engines.proxmox.lifecycle import Lifecycle
from dsecos_agent.engines.proxmox.places import Listing, Place
from dsecos_agent.engines.proxmox.tasks import Resumed
from dsecos_agent.engines.proxmox.templates import CloneSources, Templates
from dsecos_agent.storage.protocol import Archive


class RootOnNode(Protocol):
    """What no token may set, root's on the node alone: a part of `local.LocalGuests`."""

    def set_mounts(self, vmid: int, mounts: Mapping[str, str]) -> Awaitable[None]:
        """Set exactly these mount points of a container."""

    def set_features(self, vmid: int, *, keyctl: bool) -> Awaitable[None]:
        """Switch a feature of a container, from its next start on."""


class Creation:
    """`write_config` of any guest."""

    def __init__(
        self,
        access: Access,
        lifecycle: Lifecycle,
        templates: Templates,
        find: Callable[[str], Archive | None],
        root: RootOnNode | None,
    ) -> None:
        """`find` gives an image's archive on this host; `root` is there when this host is the node."""
        self._access = access
        self._lifecycle = lifecycle
        self._templates = templates
        self._sources = CloneSources(access.client, access.settings, GuestKind.VM)
        self._find = find
        self._root = root
        self._uploading = asyncio.Lock()
        self._uploaded: dict[str, str] = {}
        """Digest of an archive -> its volume, seen on the storage in this process' life."""

    async def write(self, config: GuestConfig) -> bool:
        """Create the guest, adopt it or change it; whether something was written. Raises as the protocol
        says.
        """
        forms.of_config(config).settings(config)
        if config.mounts and self._root is None:
            raise UnsupportedError(
                f"guest {config.name}: directories of the host are mounted by root on the node, where this "
                "agent is not"
            )

        async def step(_: Resumed | None) -> bool:
            listing = await self._access.places.listing()
            found = await self._access.ours_in(listing, config.name, config.owner_uid)
            if isinstance(config.root, Adopted):
                return await self._adopt(config, config.root, found, listing)
            if found is not None:
                return await self._change(config, found)
            place = await self._made(config, listing)
            if config.kind is GuestKind.VM:
                # A clone is its template's likeness until it is told otherwise.
                await self._change(config, Found(place, await self._access.config(place)))
            else:
                nests = config.nesting and not config.privileged
                await self._by_root(place, self._mounts_due(config, {}), keyctl=nests)
            return True

        return await self._access.settled(config.name, step)

    async def _adopt(self, config: GuestConfig, root: Adopted, found: Found | None, listing: Listing) -> bool:
        if found is not None and not options.marks_of(found.raw).adopted:
            raise UnsupportedError(f"guest {config.name} was made here, and cannot be adopted")
        found = found or await adoption.candidate(self._access, config, root, listing)
        written = await self._change(config, found)
        self._access.claims.adopt(config, found.place.vmid, found.place.node)
        return written

    async def _made(self, config: GuestConfig, listing: Listing) -> Place:
        leftover = await self._access.leftover(listing, config.name, config.owner_uid)
        if leftover is not None:
            if not is_unfinished(leftover.raw):
                return leftover.place
            try:
                await self._lifecycle.remove(config.name, leftover.place)
                listing = await self._access.places.listing()
            except GuestLockedError as error:
                # Nobody but root on the node can unlock it; the guest need not wait for that.
                get_logger().warning("id left behind", guest=config.name, error=str(error))
        while True:
            vmid = self._claimed(config, listing.places)
            try:
                if config.kind is GuestKind.VM:
                    return await self._clone(config, vmid)
                return await self._create(config, vmid)
            except refusals.IdTakenError:
                self._access.claims.refuse(vmid)

    def _claimed(self, config: GuestConfig, listed: Collection[int]) -> int:
        claim = self._access.claims.of(config.name)
        if (
            claim is not None
            and (claim.owner_uid, claim.kind) == (config.owner_uid, config.kind)
            and self._access.claims.holds(claim, listed)
        ):
            return claim.vmid
        return self._access.claims.claim(config, listed).vmid

    async def _create(self, config: GuestConfig, vmid: int) -> Place:
        settings = self._access.settings
        root = options.root_image(config)
        parameters: dict[str, Any] = container.create_parameters(
            config,
            vmid=vmid,
            template_volid=await self._volume(root.image),
            storage=settings.storage,
            resource_pool=settings.resource_pool,
        )
        parameters |= options.booted(parameters, container.digests(config).boot)
        try:
            async with self._access.gates.storage(root.storage or settings.storage):
                await self._access.tasks.run(
                    config.name,
                    "create",
                    node=settings.node,
                    vmid=vmid,
                    issue=lambda: self._access.client.post(f"/nodes/{settings.node}/lxc", **parameters),
                )
        except ImageMissingError:
            # Somebody removed it; the next try uploads it again.
            self._uploaded.clear()
            raise
        return Place(vmid, config.kind, settings.node)

    async def _clone(self, config: GuestConfig, vmid: int) -> Place:
        settings = self._access.settings
        root = options.root_image(config)
        template = await self._sources.ensure(root.image)
        parameters: dict[str, Any] = machine.clone_parameters(
            config, vmid=vmid, storage=settings.storage, resource_pool=settings.resource_pool
        )
        path = f"/nodes/{settings.node}/qemu/{template}/clone"
        gates = self._access.gates
        async with gates.template(template), gates.storage(root.storage or settings.storage):
            # The task carries the template's id, not the clone's (recorded from a real node).
            await self._access.tasks.run(
                config.name,
                "clone",
                node=settings.node,
                vmid=int(template),
                issue=lambda: self._access.client.post(path, **parameters),
                detail=f"{vmid}",
            )
        return Place(vmid, config.kind, settings.node)

    async def _volume(self, image: str) -> str:
        # Its content gives the archive its name, so one that was seen there needs no second look.
        archive = self._find(image)
        if archive is None:
            return await self._templates.ensure(image)
        async with self._uploading:
            if archive.sha256 not in self._uploaded:
                self._uploaded[archive.sha256] = await self._templates.ensure(image)
            return self._uploaded[archive.sha256]

    async def _change(self, config: GuestConfig, found: Found) -> bool:
        form = forms.of_config(config)
        if found.place.kind is not config.kind:
            raise UnsupportedError(f"guest {config.name} is there as {found.place.kind}: make it anew")
        if options.marks_of(found.raw).adopted and not isinstance(config.root, Adopted):
            raise UnsupportedError(f"guest {config.name} was adopted, and cannot be made anew")
        to_set, unwanted = form.config_changes(config, found.raw)
        growing = form.growing(config, found.raw)
        mounts, keyctl = self._mounts_due(config, found.raw), self._keyctl_due(config, found)
        if not (to_set or unwanted or growing or mounts is not None or keyctl):
            return False
        found.check_lock()
        if to_set or unwanted:
            await self._put(config, found, to_set, unwanted)
        for disk, size in growing.items():
            await self.resize(config.name, found.place, disk, size)
        await self._by_root(found.place, mounts, keyctl=keyctl)
        return True

    async def _by_root(self, place: Place, mounts: Mapping[str, str] | None, *, keyctl: bool) -> None:
        if self._root is None:
            return
        if mounts is not None:
            await self._root.set_mounts(place.vmid, mounts)
        if keyctl:
            await self._root.set_features(place.vmid, keyctl=True)

    def _keyctl_due(self, config: GuestConfig, found: Found) -> bool:
        """Docker in an unprivileged container wants a keyring for each of its own (pct.conf(5), features)."""
        if config.kind is GuestKind.VM or config.privileged or not config.nesting:
            return False
        if isinstance(config.root, Adopted):
            return False
        here = self._root is not None and found.place.node == self._access.settings.node
        features = properties.parse(str(found.raw.get("features", "")))
        return here and not properties.is_true(features.get("keyctl", "0"))

    async def _put(
        self, config: GuestConfig, found: Found, to_set: Mapping[str, Any], unwanted: tuple[str, ...]
    ) -> None:
        # The mark of what the present life was started with stays as long as there is one.
        form, boot = forms.of_config(config), ""
        if not (await self._access.now(found.place)).runs:
            boot = form.digests(config).boot
        elif isinstance(config.root, Adopted):
            # Nobody noted it when that life began.
            running = await self._access.client.get(f"{found.place.path}/config", current=True)
            boot = form.found_digests({**running, **_words(found.raw), **_words(to_set)}).boot
        after = {**found.raw, **to_set}
        if boot:
            to_set = {**to_set, **options.changes(options.booted(after, boot), (), after)[0]}
        if to_set or unwanted:
            await self._access.put(found, to_set, unwanted)
        if "memory" in to_set and isinstance(config.root, Adopted) and adopted.takes_memory_live(found.raw):
            # Whether it did is known only now.
            await self._put(config, Found(found.place, await self._access.config(found.place)), {}, ())

    async def resize(self, name: str, place: Place, disk: str, size: int) -> None:
        """Make a disk `size` bytes large, within a step. Raises OutOfSpaceError, UnsupportedError."""
        await self._access.tasks.run(
            name,
            "resize",
            node=place.node,
            vmid=place.vmid,
            issue=lambda: self._access.client.put(
                f"{place.path}/resize", disk=disk, size=f"{size // 2**20}M"
            ),
            detail=f"{disk} {size}",
        )

    def _mounts_due(self, config: GuestConfig, raw: options.Raw) -> Mapping[str, str] | None:
        if config.kind is GuestKind.VM or isinstance(config.root, Adopted):
            return None
        wanted = container.host_mounts(config)
        found = {device for device in raw if container.is_host_mount(device)}
        settings, there = container.settings(config), container.found_settings(raw)
        same = all(there.get(key) == value for key, value in settings.items() if key.startswith("mount "))
        return None if same and found == set(wanted) else wanted


def _words(raw: options.Raw) -> options.Raw:
    """Where marks are."""
    return {key: raw[key] for key in ("tags", "description") if key in raw}
