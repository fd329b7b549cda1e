"""What an engine is: the one place that makes, starts, stops and looks at guests.

A guest is a system container or a VM with its own init. The engine owns the guest's configuration and its
processes, and its disks where it has the capability OwnDisks; otherwise they come from `storage`. Its bridge
comes from `links`, its rules from `firewall`, and it is started only after those are in place: the engine
checks none of them.

Every mutation takes the owner's UID and raises `NotOursError` before it touches anything that carries another
one. Every mutation is idempotent and may be killed at any point: call it again and it ends in the same state,
and nothing is done twice. What an engine cannot do raises `UnsupportedError` before anything is changed;
`capabilities` tells it beforehand.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from dsecos_agent.engines.model import (
    DEFAULT_OUTPUT_LIMIT,
    Capabilities,
    ConfigDigest,
    ExecResult,
    GuestConfig,
    Limits,
    Metrics,
    ObservedGuest,
    Snapshot,
)


class Watch(Protocol):
    """A subscription that lasts until closed."""

    def close(self) -> None:
        """End it; no callback comes afterwards. Closing twice is fine."""


class Console(Protocol):
    """A terminal in a guest, as its root. Its output is the guest's word, with any control sequence."""

    async def read(self) -> bytes:
        """The next piece of output; empty when the session has ended."""

    async def write(self, data: bytes) -> None:
        """Type. Raises GuestNotRunningError when the session has ended."""

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest the size of the terminal."""

    async def close(self) -> None:
        """Hang up; what the session has started in the foreground ends. Closing twice is fine."""


class Engine(Protocol):
    """What any engine offers; `tests/engines/contract.py` is its executable form.

    Beside what is named at each call, all of them raise EngineUnreachableError, EngineDeniedError and
    CertificateChangedError where the engine is behind an API, and GuestLockedError when somebody else's
    operation holds the guest for longer than the engine waits.
    """

    async def ensure_ready(self) -> None:
        """Prepare the host; cheap when all is well. Call it before anything else. Raises UnsupportedError."""

    async def release_host(self) -> None:
        """Undo what `ensure_ready` did to the host. For `make down`, when no guest is left running."""

    async def capabilities(self) -> Capabilities:
        """Look at the host. Never raises for a missing feature; it says so."""

    # Configuration

    def digest(self, config: GuestConfig) -> ConfigDigest:
        """Fingerprint a configuration as `ObservedGuest` would show it. Pure. Raises UnsafeConfigError."""

    def settings(self, config: GuestConfig) -> Mapping[str, str]:
        """The same as single settings, to be held against `ObservedGuest.settings`. Pure. Raises
        UnsafeConfigError.
        """

    async def write_config(self, config: GuestConfig) -> bool:
        """Create the guest or replace its configuration; True when something was written.

        A running guest keeps running; what only a restart changes waits for one. Raises NotOursError,
        UnsafeConfigError, UnsupportedError, ImageMissingError, OutOfSpaceError, IdsExhaustedError.

        With the root `Adopted` a guest that carries nobody's name is taken over, running or not, and counts
        as started with what it has now. Raises NotFoundError when there is none of that id, NotOursError when
        it is another owner's, UnsupportedError when it is of another kind, or a template.
        """

    async def release(self, name: str, owner_uid: str) -> None:
        """Give an adopted guest up: nothing says any more that it is ours, and it goes on as it is.

        A missing guest is fine. Raises NotOursError, UnsupportedError (it was not adopted).
        """

    async def forget(self, name: str) -> None:
        """Drop what was noted of a guest that is gone, or another node's now; the guest is not touched."""

    # Looking

    async def list_guests(self) -> Sequence[ObservedGuest]:
        """Every guest that the engine shows us, also foreign ones, sorted by name."""

    async def get(self, name: str) -> ObservedGuest | None:
        """One guest, None when there is none."""

    async def metrics(self, name: str) -> Metrics:
        """Read the counters of a running guest. Raises GuestNotRunningError."""

    def watch(self, name: str, callback: Callable[[str], None]) -> Watch:
        """Call `callback(name)` once, on the event loop, when the guest's present life ends, or when it is on
        another node of the engine's cluster than it was.

        Cheap and idempotent: meant to be called on every pass for every running guest. A second watch of the
        same life of the same guest replaces the callback. A guest that does not run gets its callback at
        once.
        """

    # The guest's life

    async def start(self, name: str, owner_uid: str) -> ObservedGuest:
        """Start and return once its init runs (not: once its services do). A running guest is left alone.

        Raises NotFoundError, NotOursError, GuestFailedError with the engine's log, BridgeMissingError.
        """

    async def shutdown(self, name: str, owner_uid: str, *, grace: float) -> bool:
        """Ask init to shut down and wait for `grace` seconds; whether it is stopped. Never kills.

        Raises NotOursError, IllegalTransitionError (a suspended guest hears nobody). A stopped or missing
        guest is fine.
        """

    async def stop(self, name: str, owner_uid: str, *, grace: float) -> None:
        """Ask init to shut down, kill after `grace` seconds (0: kill at once). A stopped guest is fine.

        A suspended guest is resumed for it. Raises NotOursError, GuestFailedError when it survives even the
        kill. A missing guest is fine.
        """

    async def suspend(self, name: str, owner_uid: str) -> None:
        """Hold all of the guest's processes where they are. A suspended guest is fine.

        Raises GuestNotRunningError, NotOursError, GuestFailedError, UnsupportedError.
        """

    async def resume(self, name: str, owner_uid: str) -> None:
        """Let them go on. A running guest is fine. Raises as `suspend` does."""

    async def destroy(self, name: str, owner_uid: str) -> None:
        """Kill it if it runs and remove it, with the disks that the engine made. A missing guest is fine."""

    async def migrate(self, name: str, owner_uid: str, target: str) -> None:
        """Move it to the node `target` of the engine's cluster, live where that can be.

        One that ran runs there afterwards. One that is there already is fine. Raises NotFoundError (no such
        node), NotOursError, GuestFailedError, UnsupportedError, IllegalTransitionError (suspended).
        """

    # In the guest

    async def exec(
        self,
        name: str,
        owner_uid: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        time_limit: float,
        output_limit: int = DEFAULT_OUTPUT_LIMIT,
    ) -> ExecResult:
        """Run a command in all namespaces of the guest as its root, with a clean environment plus `env`.

        Neither `stdin` nor `env` ever shows in an argument list or a log. Raises GuestNotRunningError,
        GuestSilentError, NotOursError, ExecTimeoutError, UnsupportedError.
        """

    async def console(self, name: str, owner_uid: str, *, columns: int = 80, rows: int = 24) -> Console:
        """Open a terminal with a login shell of root. Raises GuestNotRunningError, NotOursError,
        UnsupportedError.
        """

    # Size and state

    async def set_limits(self, name: str, owner_uid: str, limits: Limits) -> None:
        """Change a running guest's limits now; for the next boot they are `write_config`'s business.

        Raises GuestNotRunningError, NotOursError, RetryableError (for instance memory below what is in use
        and cannot be reclaimed).
        """

    async def resize_disk(self, name: str, owner_uid: str, size: int) -> None:
        """Make the root disk `size` bytes large. One that is as large is fine.

        Raises NotFoundError, NotOursError, OutOfSpaceError, UnsupportedError (a disk cannot be made smaller,
        or is not the engine's).
        """

    async def snapshot(self, name: str, owner_uid: str, snapshot: str, *, description: str = "") -> None:
        """Keep the present state of the guest's disks under a name (a-z, 0-9, -; at most 40 characters).

        One of that name is fine and stays as it is. Raises NotFoundError, NotOursError, OutOfSpaceError,
        UnsupportedError.
        """

    async def rollback(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Take the disks back to a snapshot. A running guest is stopped for it and stays stopped.

        Raises NotFoundError (guest or snapshot), NotOursError, UnsupportedError.
        """

    async def remove_snapshot(self, name: str, owner_uid: str, snapshot: str) -> None:
        """Forget a snapshot. A missing one is fine. Raises NotOursError, UnsupportedError."""

    async def list_snapshots(self, name: str) -> Sequence[Snapshot]:
        """The guest's snapshots, the oldest first. Raises NotFoundError, UnsupportedError."""

    async def close(self) -> None:
        """Release descriptors; guests go on running."""
