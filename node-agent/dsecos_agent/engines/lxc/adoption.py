"""Containers of the host that guests take over, and give back. Blocking calls.

Killed at any point: first the guest claims the container, in our own directory; then limits are set in a
running one, and its life is noted; its configuration, which is what counts, is marked last. Called again, all
that is found is right or is written again. To release goes the other way round.
"""

import contextlib
from dataclasses import replace

from dsecos_agent.adapter_errors import (
    AdapterError,
    NotFoundError,
    NotOursError,
    RetryableError,
    UnsupportedError,
)
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.lxc import block, cgroups, state
from dsecos_agent.engines.lxc.directory import GuestDirectory
from dsecos_agent.engines.lxc.outside import CONFIG, Outside
from dsecos_agent.engines.model import Adopted, GuestConfig, GuestKind, Limits, ObservedGuest

BETWEEN = "between"
"""Noted in place of a digest while limits are being set: what is in force then is of two minds."""


class Adoption:
    """Between the guests and the host's own containers."""

    def __init__(self, guests: GuestDirectory, outside: Outside) -> None:
        """Nothing is touched."""
        self._guests = guests
        self._outside = outside

    def take(self, config: GuestConfig, root: Adopted, body: str) -> bool:
        """Adopt a container, or write what it is limited to anew; whether something was written.

        Raises NotFoundError, NotOursError, UnsafeConfigError, UnsupportedError, OutOfSpaceError, and
        RetryableError while it starts or stops, or when a limit cannot be set now.
        """
        if config.kind is not GuestKind.CONTAINER:
            raise UnsupportedError(f"LXC runs no guests of type {config.kind}")
        name = config.name
        with self._outside.alone():
            present = self._adopted(name, config.owner_uid)
            container = root.engine_id if present is None else present.engine_id
            parts = self._free(container, config)
            is_claimed = self._guests.claim(name) == container
            life = self._life(name, container, is_claimed=is_claimed)
            digest = block.Parts("", body).limits_digest or ""
            if is_claimed and parts.body == body and (life is None or life.digest == digest):
                return False
            self._guests.write_claim(name, container)
            if life is not None:
                self._put_in_force(config, life, parts, digest)
            self._outside.write(container, block.join(parts.own, body))
            # One that was started meanwhile was started without the block.
            again = self._life(name, container, is_claimed=True)
            if again is not None and again.digest != digest:
                self._put_in_force(config, again, parts, digest)
            return True

    def release(self, name: str, owner_uid: str) -> None:
        """Take our block out of the container's configuration, lift what it has set, and forget it.

        Raises NotOursError, UnsupportedError, OutOfSpaceError.
        """
        with self._outside.alone():
            guest = self._guests.owned(name, owner_uid)
            if guest is not None and not guest.adopted:
                raise UnsupportedError(f"guest {name} was made here, not adopted: it cannot be released")
            taken = self._guests.taken(name)
            if guest is not None and taken is not None and taken.parts is not None:
                parts = taken.parts
                which = block.limited(self._limits(parts.body or ""))
                # What does not fit now holds from its next start on.
                with contextlib.suppress(AdapterError, FileNotFoundError, ProcessLookupError):
                    if guest.init_pid is not None:
                        _apply(cgroups.of_process(guest.init_pid), self._limits(parts.own), which)
                self._outside.write(taken.container, parts.own)
            self._guests.remove(name)

    def set_limits(self, guest: ObservedGuest, group: cgroups.GuestCgroup, limits: Limits) -> None:
        """Change an adopted guest's limits now: one that is not wished for is its own again. Raises
        RetryableError, AdapterError.
        """
        taken = self._guests.taken(guest.name)
        parts = taken.parts if taken is not None and taken.parts is not None else block.Parts("")
        which = block.limited(limits) | block.limited(self._limits(parts.body or ""))
        _apply(group, self._filled(limits, parts.own), which)

    def _adopted(self, name: str, owner_uid: str) -> ObservedGuest | None:
        taken = self._guests.taken(name)
        if taken is not None and taken.parts is not None and taken.parts.damaged:
            self._refuse_damage(taken.container)
        present = self._guests.owned(name, owner_uid)
        if present is not None and not present.adopted:
            raise UnsupportedError(f"guest {name} was made here: it cannot become another one")
        return present

    def _free(self, container: str, config: GuestConfig) -> block.Parts:
        """The configuration of a container that this guest may adopt, or has adopted."""
        try:
            self._outside.check(container)
        except NotFoundError:
            ours = self._guests.observe(container)
            if ours is None:
                raise
            raise NotOursError("guest", container, wanted=config.owner_uid, found=ours.owner_uid) from None
        parts = block.split(self._outside.read(container) or "")
        if parts.damaged:
            self._refuse_damage(container)
        marked = (parts.guest, parts.owner_uid)
        if parts.body is not None and marked != (str(self._guests.of(config.name)), config.owner_uid):
            raise NotOursError("container", container, wanted=config.owner_uid, found=parts.owner_uid)
        return parts

    def _refuse_damage(self, container: str) -> None:
        path = self._outside.directory(container) / CONFIG
        raise UnsafeConfigError(
            f"the lines of ours in {path} are damaged: take out by hand what is left between "
            f"'{block.BEGIN}' and '{block.END}'"
        )

    def _life(self, name: str, container: str, *, is_claimed: bool) -> state.Boot | None:
        """Its present life; without a digest unless it is noted that our limits are in force."""
        seen = state.unnoted(self._outside.lxcpath, container)
        noted = state.read_boot(self._guests.of(name)) if is_claimed else None
        # Without its monitor, which somebody may have killed, only the note tells.
        if noted is not None and (seen is None or seen.init_pid == noted.init_pid):
            return noted
        if seen is None and state.is_monitored(self._outside.lxcpath, container):
            raise RetryableError(
                f"container {container} starts or stops, or has no pids of its own: its init cannot be told"
            )
        return seen

    def _put_in_force(self, config: GuestConfig, life: state.Boot, parts: block.Parts, digest: str) -> None:
        """Set the limits that are ours to set, or that were, and note that they are."""
        which = block.limited(config.limits) | block.limited(self._limits(parts.body or ""))
        if parts.body is not None and life.digest not in {"", parts.limits_digest}:
            # Its monitor has rebooted it with an older block of ours, whatever that said.
            which = cgroups.ALL
        # What has ended meanwhile is started with all of it.
        noted = replace(life, digest=digest, owner_uid=config.owner_uid)
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            group = cgroups.of_process(life.init_pid)
            self._guests.note(config.name, replace(noted, digest=BETWEEN))
            _apply(group, self._filled(config.limits, parts.own), which)
            self._guests.note(config.name, noted)

    @staticmethod
    def _limits(text: str) -> Limits:
        return block.limits_of(text, unified=cgroups.is_unified())

    def _filled(self, limits: Limits, own: str) -> Limits:
        """What is not wished for is as the container's own configuration says."""
        mine = self._limits(own)
        return Limits(
            cpu_millis=mine.cpu_millis if limits.cpu_millis is None else limits.cpu_millis,
            memory_bytes=mine.memory_bytes if limits.memory_bytes is None else limits.memory_bytes,
            pids=mine.pids if limits.pids is None else limits.pids,
        )


def _apply(group: cgroups.GuestCgroup, limits: Limits, which: frozenset[str]) -> None:
    if which and not group.directories:
        raise UnsupportedError(
            f"the container is in no control group of liblxc's usual name ({cgroups.PAYLOAD}<name>): "
            "its limits can be set while it is stopped only"
        )
    cgroups.apply(group, limits, which)
