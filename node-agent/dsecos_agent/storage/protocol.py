"""What a storage pool is: templates that never change, guests cloned from them, volumes that outlive guests.

Layout, the same for every driver, relative to the pool's root:

    templates/<digest>/{rootfs,docker}             imported once, never written again
    guests/<guest>/{rootfs,docker,shared}          clones of a template; the directory it shares with the host
    guests/<guest>/snapshots/<name>/{rootfs,docker}     read-only
    volumes/<namespace>/<stack>/<volume>/data      keyed by name: retained data meets a re-created Stack

The guest mounts its trees as the root of its own user namespace, who is nobody special on the host: the
directory of a guest or a volume may be passed by root and by one group, the guest's, and by nobody else.
(Below lie set-user-id files that belong to root.)

Whose a thing is stands beside it, outside of what the guest can see and write. A thing that was not finished
carries a marker and is made again. Sizes are bytes. Ids on disk are the guest's own (unshifted).
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from dsecos_agent.adapter_errors import AdapterError


class PoolUnavailableError(AdapterError):
    """The pool cannot be made or mounted: its tool is missing, the file system damaged, the disk full."""


class TemplateDamagedError(AdapterError):
    """An archive cannot be read or unpacked, or it is not what was built."""


class DatasetKind(enum.StrEnum):
    """What a dataset is for."""

    TEMPLATE = "template"
    GUEST = "guest"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class VolumeRef:
    """Names one volume; all three are Kubernetes names."""

    namespace: str
    stack: str
    volume: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.stack}/{self.volume}"


@dataclass(frozen=True, slots=True)
class Archive:
    """A file and what it has to be."""

    path: Path
    sha256: str
    """64 lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Template:
    """One guest template as built: its digest and the archives (tar, optionally zstd) of its two trees."""

    digest: str
    """Lower-case hex or `sha256:` + hex; names the template everywhere."""
    rootfs: Archive
    docker: Archive | None = None
    """A /var/lib/docker that already holds images; None: the guest starts with an empty one."""


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """Where a guest's trees are; all are mounted with mapped ids."""

    rootfs: Path
    docker: Path
    shared: Path
    """For sockets, seen by the guest at /run/dsecos: empty at first, and kept small by a quota of its own."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Something in the pool, as found."""

    kind: DatasetKind
    name: str
    """Digest, guest name, or namespace/stack/volume."""
    owner_uid: str | None
    """None: nobody's. A released volume; or a thing that we did not make, which is reported, never touched.
    """
    template: str | None
    """Of a guest: the digest that it was cloned from."""
    quota_bytes: int | None
    """None: no limit."""


@dataclass(frozen=True, slots=True)
class GuestSnapshot:
    """A state of a guest's trees that it can be taken back to."""

    name: str
    created: datetime
    """With time zone."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of the whole pool."""

    total_bytes: int
    used_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class PoolFeatures:
    """What this driver does on this host."""

    driver: str
    quotas: bool
    """`quota` arguments are enforced; otherwise they are accepted and ignored."""
    instant_clones: bool


class Pool(Protocol):
    """What any pool offers; `tests/storage/contract.py` is its executable form. One caller per name at a
    time.
    """

    @property
    def root(self) -> Path:
        """Where the layout begins."""

    @property
    def features(self) -> PoolFeatures | None:
        """What `ensure_ready` found; None before."""

    def guest_of(self, tree: Path) -> str | None:
        """The guest that this is a tree of; None when it is none of this pool's."""

    async def ensure_ready(self) -> PoolFeatures:
        """Make the pool or mount it again if it is not. Cheap if all is well. Raises PoolUnavailableError."""

    async def close(self) -> None:
        """Unmount if that is possible; what is in use stays mounted. For `make down`, not for an agent's
        restart.
        """

    async def import_template(self, template: Template) -> None:
        """Unpack once. Raises TemplateDamagedError, OutOfSpaceError, UnsupportedError."""

    async def clone(
        self, digest: str, guest: str, owner_uid: str, *, gid: int, quota: int | None = None
    ) -> GuestDisk:
        """The guest's own writable copy; one that is complete and ours is returned as it is (whatever its
        template).

        `gid` is the host's group that is the guest's root group (`IdMap.base`). Raises NotFoundError (no such
        template), NotOursError, OutOfSpaceError.
        """

    async def remove_guest(self, guest: str, owner_uid: str) -> None:
        """Remove both trees, all that the guest made there, and its snapshots. A missing one is fine.

        Raises NotOursError.
        """

    # Snapshots: of both trees, not of the shared directory nor of volumes. The guest may run while one is
    # taken, but then each tree is as it was at a moment of its own; and only the bytes on the disk count.

    async def snapshot_guest(
        self, guest: str, owner_uid: str, snapshot: str, *, description: str = ""
    ) -> None:
        """Keep both trees as they are now, under a name (a-z, 0-9, -; at most 40 characters).

        One of that name is fine and stays as it is.
        Raises NotFoundError, NotOursError, OutOfSpaceError, UnsupportedError (the guest made subvolumes).
        """

    async def rollback_guest(self, guest: str, owner_uid: str, snapshot: str) -> None:
        """Take both trees back; the guest must not run. Its limit stays.

        Killed half way it is undone, or done by the next call that is about this guest.
        Raises NotFoundError (guest or snapshot), NotOursError, OutOfSpaceError.
        """

    async def finish_rollback(self, guest: str, owner_uid: str) -> None:
        """Bring one that was interrupted to its end, before the guest is started. Cheap when none was.

        A missing guest is fine. Raises NotOursError.
        """

    async def remove_guest_snapshot(self, guest: str, owner_uid: str, snapshot: str) -> None:
        """Forget one. A missing one, or a missing guest, is fine. Raises NotOursError."""

    async def list_guest_snapshots(self, guest: str) -> Sequence[GuestSnapshot]:
        """Those that are complete, the oldest first. Raises NotFoundError."""

    async def ensure_volume(
        self, ref: VolumeRef, owner_uid: str, *, gid: int, quota: int | None = None
    ) -> Path:
        """The volume's directory. One that nobody owns (released) becomes the caller's, with its data.

        `gid` as for `clone`: the guest that is to mount it.
        Raises NotOursError, OutOfSpaceError.
        """

    async def release_volume(self, ref: VolumeRef, owner_uid: str) -> None:
        """Keep the data and give up ownership (deletionPolicy Retain). A missing one is fine. Raises
        NotOursError.
        """

    async def remove_volume(self, ref: VolumeRef, owner_uid: str) -> None:
        """Destroy the data. A missing one is fine. Raises NotOursError."""

    async def remove_template(self, digest: str) -> None:
        """Guests cloned from it keep their data."""

    async def set_guest_quota(self, guest: str, owner_uid: str, quota: int | None) -> None:
        """Bytes that the guest may add to what its template brought, in both trees; None: no limit."""

    async def set_volume_quota(self, ref: VolumeRef, owner_uid: str, quota: int | None) -> None:
        """Bytes that the volume may hold; None lifts the limit."""

    async def guest_usage(self, guest: str) -> int | None:
        """Bytes added to the template; None where the driver cannot tell cheaply. Raises NotFoundError."""

    async def volume_usage(self, ref: VolumeRef) -> int | None:
        """Bytes held; None where the driver cannot tell cheaply. Raises NotFoundError."""

    async def list_datasets(self) -> Sequence[Dataset]:
        """Everything that is complete, sorted by kind and name."""

    async def capacity(self) -> Capacity:
        """Of the whole pool, as a new guest would find it."""
