"""How a guest is written as options of the API: by its kind, and by whether we have made or adopted it."""

from collections.abc import Mapping
from typing import Protocol

from dsecos_agent.engines.model import Adopted, ConfigDigest, GuestConfig, GuestKind
from dsecos_agent.engines.proxmox import adopted, container, machine, options
from dsecos_agent.engines.proxmox.options import Changes, Raw

ROOTS = {GuestKind.CONTAINER: container.ROOT, GuestKind.VM: machine.ROOT}


class Form(Protocol):
    """What there is to say about any guest. All of it is pure."""

    def settings(self, config: GuestConfig) -> dict[str, str]:
        """All that is ours to say, canonical. Raises UnsafeConfigError, UnsupportedError."""

    def found_settings(self, raw: Raw) -> dict[str, str]:
        """The same of a guest as it is."""

    def digests(self, config: GuestConfig) -> ConfigDigest:
        """Fingerprints of what it is to be; equal to `found_digests` of what it is once it is so."""

    def found_digests(self, raw: Raw) -> ConfigDigest:
        """Fingerprints of what it is."""

    def config_changes(self, config: GuestConfig, current: Raw) -> Changes:
        """What to set and to delete with `PUT .../config`. Raises UnsafeConfigError, UnsupportedError."""

    def growing(self, config: GuestConfig, raw: Raw) -> dict[str, int]:
        """Disks that are smaller than wanted -> bytes, for `PUT .../resize`."""

    def disk_bytes(self, raw: Raw) -> int | None:
        """Size of the root disk; None when it cannot be told."""

    def ports(self, vmid: int, raw: Raw, /) -> tuple[str, ...]:
        """Host's ends of the interfaces that we have given it, in order."""


MADE: Mapping[GuestKind, Form] = {GuestKind.CONTAINER: container, GuestKind.VM: machine}
ADOPTED: Mapping[GuestKind, Form] = {kind: adopted.AdoptedForm(kind) for kind in GuestKind}


def of_config(config: GuestConfig) -> Form:
    """The form of a guest as it is to be."""
    return (ADOPTED if isinstance(config.root, Adopted) else MADE)[config.kind]


def of_found(kind: GuestKind, raw: Raw) -> Form:
    """The form of a guest as it is."""
    return (ADOPTED if options.marks_of(raw).adopted else MADE)[kind]


def root_disk(kind: GuestKind, raw: Raw) -> str:
    """The device that holds a guest's root; empty when that cannot be told."""
    return adopted.root_disk(kind, raw) if options.marks_of(raw).adopted else ROOTS[kind]
