"""What guests are made from: archives of our guest templates (vztmpl), and templates to clone.

An archive is named after its content, so it is uploaded once for each storage, by whichever agent comes
first; a second upload of the same is harmless. Only the root file system goes there: a guest template's
second archive, Docker's images, has no place in a vztmpl, so such a guest begins with an empty Docker.

Templates to clone (of VMs, and of containers for linked clones) are made by an administrator: a template in
the sense of Proxmox VE with the tag `dsecos-template`, named `dsecos-<image>`.
"""

import io
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from dsecos_agent.engines.errors import ImageMissingError, OutcomeUnknownError
from dsecos_agent.engines.model import GuestKind
from dsecos_agent.engines.proxmox import properties
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.gates import Gates
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.engines.proxmox.tasks import Tasks
from dsecos_agent.storage.protocol import Archive

ARCHIVE = re.compile(r"dsecos-(?P<image>[a-z0-9-]+)-(?P<digest>[0-9a-f]{12})\.tar\.zst")
API_KIND: Mapping[GuestKind, str] = {GuestKind.CONTAINER: "lxc", GuestKind.VM: "qemu"}


class CloneSources:
    """Templates of one kind on our node that guests are cloned from."""

    def __init__(self, client: Client, settings: ProxmoxSettings, kind: GuestKind) -> None:
        """Nothing is asked yet."""
        self._client = client
        self._settings = settings
        self._kind = API_KIND[kind]

    async def ensure(self, image: str) -> str:
        """VMID of the image's template. Raises ImageMissingError when there is none, or more than one."""
        found = [
            guest
            for guest in await self._client.get("/cluster/resources", type="vm")
            if properties.is_true(guest.get("template", 0))
            and (guest.get("type"), guest.get("node")) == (self._kind, self._settings.node)
            and guest.get("name") == f"dsecos-{image}"
            and properties.TEMPLATE_TAG in properties.parse_tags(str(guest.get("tags", "")))
        ]
        if len(found) != 1:
            raise ImageMissingError(
                f"{len(found) or 'no'} {self._kind} templates on {self._settings.node} are named"
                f" dsecos-{image} and tagged {properties.TEMPLATE_TAG}: there has to be one"
            )
        return str(found[0]["vmid"])


class Templates:
    """Archives on the template storage of one Proxmox VE.

    `find` gives an image's archive on this host, None when it has none.
    """

    def __init__(
        self,
        client: Client,
        tasks: Tasks,
        gates: Gates,
        settings: ProxmoxSettings,
        find: Callable[[str], Archive | None],
    ) -> None:
        """Nothing is asked yet."""
        self._client = client
        self._tasks = tasks
        self._gates = gates
        self._settings = settings
        self._find = find

    async def ensure(self, image: str) -> str:
        """Volume id of the image's archive, uploaded if it is not there yet.

        Raises ImageMissingError when this host does not have it, GuestFailedError with the task's log when
        what arrived is not what was sent, OutOfSpaceError, and what a call raises.
        """
        archive = self._find(image)
        if archive is None:
            raise ImageMissingError(f"there is no archive of the guest template {image} on this node")
        name = archive_name(image, archive)
        volume = f"{self._settings.template_storage}:vztmpl/{name}"
        async with self._gates.template(volume):
            if volume not in await self._archives():
                await self._upload(archive, name)
                if volume not in await self._archives():
                    raise OutcomeUnknownError(f"{volume} was uploaded and is not there")
        return volume

    async def prune(self, images: Collection[str], *, before: float) -> list[str]:
        """Remove our archives that are none of these images' and were uploaded before (seconds since 1970).

        A container does not need its archive once it is made, and one that is missed is uploaded again. Gives
        the volume ids that are gone. Raises EngineDeniedError without Datastore.Allocate.
        """
        archives = {image: self._find(image) for image in images}
        kept = {archive_name(image, archive) for image, archive in archives.items() if archive is not None}
        gone = []
        for volume, uploaded in sorted((await self._archives()).items()):
            name = volume.rpartition("/")[2]
            if not ARCHIVE.fullmatch(name) or name in kept or uploaded >= before:
                continue
            await self._tasks.run(
                f"template {volume}",
                "remove-volume",
                node=self._settings.node,
                vmid=None,
                issue=partial(self._client.delete, f"{self._storage_path}/content/{volume}"),
                detail=name,
            )
            gone.append(volume)
        return gone

    @property
    def _storage_path(self) -> str:
        return f"/nodes/{self._settings.node}/storage/{self._settings.template_storage}"

    async def _archives(self) -> dict[str, float]:
        """Volume id -> when it was uploaded."""
        content = await self._client.get(f"{self._storage_path}/content", content="vztmpl")
        return {str(volume["volid"]): float(volume.get("ctime") or 0) for volume in content}

    async def _upload(self, archive: Archive, name: str) -> None:
        with open_as(archive.path, name) as file:
            # Proxmox VE checks the digest after the transfer and removes what does not have it.
            parameters = {
                "content": "vztmpl",
                "checksum": archive.sha256,
                "checksum-algorithm": "sha256",
                "filename": file,
            }
            await self._tasks.run(
                f"template {self._settings.template_storage}:vztmpl/{name}",
                "upload",
                node=self._settings.node,
                vmid=None,
                issue=lambda: self._client.post(
                    f"{self._storage_path}/upload",
                    answer_limit=self._settings.limit_of("upload"),
                    **parameters,
                ),
                detail=name,
            )


def archive_name(image: str, archive: Archive) -> str:
    """Its name on a storage: says the image and the content."""
    return f"dsecos-{properties.checked('image', image, properties.NAME)}-{archive.sha256[:12]}.tar.zst"


def open_as(path: Path, name: str) -> io.FileIO:
    """A file that is uploaded under another name; read piece by piece. Raises ImageMissingError."""
    try:
        file = io.FileIO(path)
    except OSError as error:
        raise ImageMissingError(f"the archive {path.name} cannot be read: {error.strerror}") from error
    file.name = name
    return file
