"""What no token may do, done by root on the Proxmox VE node itself: a narrow path of four verbs of `pct`.

Commands and terminals in a container (the API has no call for them), directories of the host as mount points,
and the feature keyctl. Nothing else of pct can be reached from here, and no container but those of ours: the
container's configuration on this node has to carry our marks, and its id has to be in our range unless those
marks say that it was adopted; such a one is entered, and never changed. The caller has checked the owner
already; this is the second lock on the door.

pct(1) runs on the host as root before it enters the guest. So values of the environment are handed to it
under names of our own and get their right names in the guest only, and nothing of it is in an argument.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from dsecos_agent.adapter_errors import NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.engines.errors import (
    ExecTimeoutError,
    GuestFailedError,
    GuestNotRunningError,
    UnsafeConfigError,
)
from dsecos_agent.engines.lxc.console import open_console
from dsecos_agent.engines.model import ExecResult, GuestKind
from dsecos_agent.engines.protocol import Console
from dsecos_agent.engines.proxmox import container, options, properties
from dsecos_agent.processes import ToolTimeoutError, run

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TERM = "xterm-256color"
SET_LIMIT = 60.0
"""Seconds that a change of a configuration may take; pct waits 10 s for a lock itself."""


class LocalGuests(Protocol):
    """What is done on the node itself. The caller has checked whose the guest is."""

    async def exec(
        self,
        kind: GuestKind,
        vmid: int,
        argv: Sequence[str],
        *,
        stdin: bytes,
        env: Mapping[str, str],
        time_limit: float,
        output_limit: int,
    ) -> ExecResult:
        """Run a command as the guest's root. Raises as `Engine.exec` does."""

    async def console(self, kind: GuestKind, vmid: int, columns: int, rows: int) -> Console:
        """Open a terminal with a shell of root. Raises as `Engine.console` does."""

    async def set_mounts(self, vmid: int, mounts: Mapping[str, str]) -> None:
        """Set exactly these directories of the host, as `container.host_mounts` writes them."""

    async def set_features(self, vmid: int, *, keyctl: bool) -> None:
        """Switch keyctl; other features stay as they are."""


class PctLocal:
    """`LocalGuests` by pct(1). `directory` is /etc/pve/lxc: this node's containers and no other's."""

    def __init__(
        self,
        vmids: range,
        roots: Sequence[Path],
        *,
        directory: Path = Path("/etc/pve/lxc"),
        path: str = PATH,
    ) -> None:
        """Directories of the host have to lie below one of `roots`."""
        self._vmids = vmids
        self._roots = tuple(roots)
        self._directory = directory
        self._path = path

    async def exec(
        self,
        kind: GuestKind,
        vmid: int,
        argv: Sequence[str],
        *,
        stdin: bytes,
        env: Mapping[str, str],
        time_limit: float,
        output_limit: int,
    ) -> ExecResult:
        """Run a command. Raises GuestNotRunningError, NotOursError, ExecTimeoutError, UnsupportedError."""
        self._check_kind(kind)
        self._config(vmid)
        named, handed = _handed(env)
        # lxc-attach has to keep what it is handed; the environment of pct is ours from end to end.
        command = ["pct", "exec", f"{vmid}", "--keep-env", "1", "--", *named, *argv]
        try:
            result = await run(
                command,
                stdin=stdin,
                env={"PATH": self._path, "HOME": "/root", **handed},
                time_limit=time_limit,
                output_limit=output_limit,
            )
        except ToolTimeoutError as error:
            raise ExecTimeoutError(
                f"{argv[0]} in guest {vmid} did not end within {time_limit:g} s"
            ) from error
        if result.exit_code != 0 and result.text_err().startswith(f"container '{vmid}' not running"):
            raise GuestNotRunningError(f"guest {vmid} does not run")
        return ExecResult(result.exit_code, result.stdout, result.stderr, result.truncated)

    async def console(self, kind: GuestKind, vmid: int, columns: int, rows: int) -> Console:
        """Open a terminal. Raises GuestNotRunningError, NotOursError, GuestFailedError, UnsupportedError."""
        self._check_kind(kind)
        self._config(vmid)
        environment = {"PATH": self._path, "HOME": "/root", "TERM": TERM}
        return await open_console(
            ["pct", "enter", f"{vmid}", "--keep-env", "1"], environment, columns=columns, rows=rows
        )

    async def set_mounts(self, vmid: int, mounts: Mapping[str, str]) -> None:
        """Set exactly these. A container that runs gets them at its next start.

        Raises NotOursError, NotFoundError, UnsafeConfigError, GuestFailedError.
        """
        raw = self._made_here(vmid)
        for slot, value in mounts.items():
            self._check_mount(slot, value)
        there = {slot: str(value) for slot, value in raw.items() if container.is_host_mount(slot)}
        wanted = {slot: value for slot, value in mounts.items() if there.get(slot) != value}
        arguments = [word for slot, value in sorted(wanted.items()) for word in (f"-{slot}", value)]
        if gone := sorted(set(there) - set(mounts)):
            arguments += ["-delete", ",".join(gone)]
        if arguments:
            await self._set(vmid, arguments)

    async def set_features(self, vmid: int, *, keyctl: bool) -> None:
        """Switch keyctl, from the next start on. Raises as `set_mounts` does."""
        raw = self._made_here(vmid)
        features = properties.parse(str(raw.get("features", "")))
        if properties.is_true(features.get("keyctl", "0")) is not keyctl:
            await self._set(vmid, ["-features", properties.render({**features, "keyctl": f"{int(keyctl)}"})])

    async def _set(self, vmid: int, arguments: Sequence[str]) -> None:
        result = await run(
            ["pct", "set", f"{vmid}", *arguments], env={"PATH": self._path}, time_limit=SET_LIMIT
        )
        if result.exit_code != 0:
            raise GuestFailedError(f"guest {vmid} could not be changed on its node", result.text_err())

    def _check_mount(self, slot: str, value: str) -> None:
        parts = properties.parse(value, "volume")
        source = Path(parts.get("volume", ""))
        if not container.is_host_mount(slot) or int(slot[2:]) > container.LAST_MOUNT_POINT:
            raise UnsafeConfigError(f"{slot} is no place for a directory of the host")
        if properties.parse(properties.render(parts, "volume"), "volume") != parts or "mp" not in parts:
            raise UnsafeConfigError(f"{value!r} is no mount point")
        resolved = source.resolve()
        if resolved != source or not any(resolved.is_relative_to(root) for root in self._roots):
            raise UnsafeConfigError(f"{source} is none of the directories that a guest may see")

    def _made_here(self, vmid: int) -> dict[str, str]:
        """The same of one that may be changed."""
        raw = self._config(vmid)
        if options.marks_of(raw).adopted:
            raise UnsupportedError(f"guest {vmid} was adopted: directories and features are its own")
        return raw

    def _config(self, vmid: int) -> dict[str, str]:
        """Its configuration here. Raises NotOursError, NotFoundError."""
        try:
            text = (self._directory / f"{vmid}.conf").read_text(errors="replace")
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no container {vmid} on this node") from error
        raw = parse_file(text)
        if options.owner_of(raw) is None:
            raise NotOursError("guest", f"{vmid}", wanted="DsecOS", found=None)
        if vmid not in self._vmids and not options.marks_of(raw).adopted:
            raise NotOursError("guest", f"{vmid}", wanted=f"the range of ids {self._range}", found=None)
        return raw

    @property
    def _range(self) -> str:
        return f"{self._vmids.start}-{self._vmids.stop - 1}"

    @staticmethod
    def _check_kind(kind: GuestKind) -> None:
        if kind is not GuestKind.CONTAINER:
            raise UnsupportedError("a VM is entered by its guest agent and its serial port, not on the node")


def parse_file(text: str) -> dict[str, str]:
    """A container's configuration file as `GET .../config` tells it: its present part, without snapshots.

    Lines are `key: value`; those of the description begin with # and are percent-encoded (PVE::Tools).
    """
    raw: dict[str, str] = {}
    words = []
    for line in text.split("\n"):
        if line.startswith("["):
            break
        if line.startswith("#"):
            words.append(unquote(line[1:]))
        elif ": " in line:
            key, _, value = line.partition(": ")
            raw.setdefault(key.strip(), value.strip())
    return raw | ({"description": "\n".join(words) + "\n"} if words else {})


def _handed(env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """A command that, in the guest, gives variables their names and runs what follows; and what it is handed.

    Raises UnsafeConfigError.
    """
    names = sorted(env)
    if wrong := [name for name in names if not ENV_NAME.fullmatch(name)]:
        raise UnsafeConfigError(f"{wrong[0]!r} is not the name of an environment variable")
    if not names:
        return [], {}
    handed = {f"DSECOS_{number}": env[name] for number, name in enumerate(names)}
    exports = " ".join(f'{name}="${variable}"' for name, variable in zip(names, handed, strict=True))
    script = f'export {exports}; unset {" ".join(handed)}; exec "$@"'
    return ["/bin/sh", "-c", script, "sh"], handed
