"""Name servers by dnsmasq(8), a process a bridge.

A server goes on without us: it is in a session of its own, and whoever comes next finds it by what it was
told (`servers.Folder`). Nothing about it is remembered but the descriptor that tells its death.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import select
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsecos_runtime import get_logger

from dsecos_agent.names import listening, text
from dsecos_agent.names.model import NameServerError, Zone
from dsecos_agent.names.servers import Folder, Process, outdated
from dsecos_agent.processes import ToolMissingError, ToolTimeoutError, run

START_LIMIT = 20.0
"""Seconds that dnsmasq may take until it is in the background: milliseconds where nothing is wrong."""

USERS = ("dnsmasq", "nobody")
"""Whom a server runs as: the first that there is. Debian's package makes `dnsmasq`."""


@dataclass(slots=True)
class _Running:
    process: Process
    pidfd: int
    told: int | None
    """Hash of the hosts file that it last was told to read. None: by a former agent, so we cannot tell."""


class DnsmasqServers:
    """Implements `NameServers`."""

    def __init__(
        self,
        state: Path,
        instance: str,
        program: Path | None = None,
        resolv: Path = Path("/etc/resolv.conf"),
    ) -> None:
        """`state` is a folder for these servers alone, made when it is needed; `program` is found on the
        PATH where none is named; `resolv` names the node's resolvers, resolv.conf(5).
        """
        self._folder = Folder(state)
        self._instance = instance
        self._program = program
        self._resolv = resolv
        self._running: dict[str, _Running] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ended: list[Callable[[str], None]] = []

    async def ensure(self, zone: Zone) -> bool:
        """Make the zone's server run and know these names. Whether anything had to be changed.

        Names are changed by a signal, which the server obeys between two answers. Raises NameServerError.
        """
        bridge = self._checked(zone.bridge)
        argv = self._arguments(zone)
        async with self._locks[bridge]:
            await self._adopt(bridge)
            written, told = await self._write(zone)
            running = self._running.get(bridge)
            if running is None or not await asyncio.to_thread(_fits, running.process, argv, zone):
                await self._begin(zone, argv, told)
                return True
            if running.told != told:
                with contextlib.suppress(ProcessLookupError):  # its end is told by its descriptor
                    signal.pidfd_send_signal(running.pidfd, signal.SIGHUP)
                    running.told = told
            return written

    async def remove(self, bridge: str) -> None:
        """End a bridge's server and take its files away; one that is not there is fine."""
        async with self._locks[self._checked(bridge)]:
            await self._end(bridge)
            await asyncio.to_thread(self._folder.remove, bridge)

    async def serving(self) -> frozenset[str]:
        """Bridges whose servers run, whoever began them."""
        return frozenset(await asyncio.to_thread(self._folder.running))

    def subscribe(self, ended: Callable[[str], None]) -> Callable[[], None]:
        """Call back, on the event loop, with the bridge of a server that ended unasked, of those that
        `ensure` has seen; returns the way to stop that.
        """
        self._ended.append(ended)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._ended.remove(ended)

        return stop

    async def close(self) -> None:
        """Release what we hold; servers go on."""
        for bridge in list(self._running):
            self._forget(bridge)

    @staticmethod
    def _checked(bridge: str) -> str:
        if not text.is_bridge(bridge):
            raise NameServerError(f"{bridge!r} cannot be the name of a bridge: no name server for it")
        return bridge

    def _arguments(self, zone: Zone) -> list[str]:
        user, group = _account()
        return text.arguments(
            zone,
            program=self._program or Path(shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"),
            user=user,
            group=group,
            hosts=self._folder.hosts(zone.bridge),
            pid=self._folder.pid(zone.bridge),
            resolv=self._resolv,
        )

    async def _write(self, zone: Zone) -> tuple[bool, int]:
        """Whether the hosts file was another, and the hash of what it is."""

        def write() -> tuple[bool, int]:
            lines = text.hosts_file(self._instance, text.known(zone))
            return self._folder.write(zone.bridge, lines), hash(lines)

        try:
            written, told = await asyncio.to_thread(write)
        except OSError as error:
            raise NameServerError(f"the names for {zone.bridge} cannot be written: {error}") from error
        if written and (left_out := text.unfit(zone.hosts)):
            get_logger().warning("left out: cannot be names", bridge=zone.bridge, names=left_out)
        return written, told

    async def _adopt(self, bridge: str, told: int | None = None) -> None:
        """Find the bridge's server, and be told of its end from now on."""
        known = self._running.get(bridge)
        if known is not None:
            if not _ended(known.pidfd):
                return
            self._died(bridge)
        found = await asyncio.to_thread(self._folder.server, bridge)
        if found is None:
            return
        try:
            pidfd = os.pidfd_open(found.pid)
        except ProcessLookupError:
            return
        # The pid may have been given to another process between the look and the open.
        if self._folder.server(bridge) != found:
            os.close(pidfd)
            return
        self._running[bridge] = _Running(found, pidfd, told)
        asyncio.get_running_loop().add_reader(pidfd, self._died, bridge)

    async def _begin(self, zone: Zone, argv: Sequence[str], told: int) -> None:
        bridge = zone.bridge
        await self._end(bridge)
        try:
            result = await run(argv, env={"LC_ALL": "C.UTF-8"}, time_limit=START_LIMIT)
        except ToolMissingError as error:
            raise NameServerError(f"{error}: install dnsmasq-base") from error
        except ToolTimeoutError as error:
            raise NameServerError(str(error)) from error
        if result.exit_code != 0:
            said = [result.text_err().strip() or f"exit code {result.exit_code}"]
            said += await asyncio.to_thread(listening.taken, zone.gateways)
            raise NameServerError(f"the name server of {bridge} does not start: {'; '.join(said)}")
        await self._adopt(bridge, told)
        running = self._running.get(bridge)
        if running is None:
            raise NameServerError(f"the name server of {bridge} ended at once; dnsmasq says why in syslog")
        missing = await asyncio.to_thread(listening.missing, running.process.pid, zone.gateways)
        if missing:
            await self._end(bridge)
            why = await asyncio.to_thread(listening.taken, missing)
            why = why or [f"{bridge} has no {address}, or not yet" for address in missing]
            raise NameServerError(f"the name server of {bridge} cannot listen: {'; '.join(why)}")

    async def _end(self, bridge: str) -> None:
        """Also what is left of one that was killed: a child of it may hold the port."""
        self._forget(bridge)
        await asyncio.to_thread(self._folder.end, [bridge])

    def _died(self, bridge: str) -> None:
        self._forget(bridge)
        for callback in list(self._ended):
            callback(bridge)

    def _forget(self, bridge: str) -> None:
        running = self._running.pop(bridge, None)
        if running is not None:
            asyncio.get_running_loop().remove_reader(running.pidfd)
            os.close(running.pidfd)


def _account() -> tuple[str, str]:
    """User and group."""
    for user in USERS:
        with contextlib.suppress(KeyError):
            return user, grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    raise NameServerError(f"no user {' or '.join(USERS)} on this node: install dnsmasq-base")


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _fits(process: Process, argv: Sequence[str], zone: Zone) -> bool:
    """Whether the server runs as it is to: what it was told, where it listens, as which program."""
    return (
        list(process.argv) == list(argv)
        and not outdated(process.pid)
        and not listening.missing(process.pid, zone.gateways)
    )
