"""What the agent asks of the Docker inside a guest.

Changes go through `docker compose` in the guest (the engine's exec). Looks go through the guest's socket in a
directory that the host shares with it, or, where nothing is shared, through commands in it too. The guest is
hostile: whatever it answers is bounded in size and time and never trusted to be true about anything but
itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from dsecos_agent.adapter_errors import AdapterError, RetryableError
from dsecos_agent.engines.protocol import Watch

PROJECT = "app"
"""The compose project's name in every guest."""


@dataclass(frozen=True, slots=True)
class InGuest:
    """Nothing is shared with this guest: its dockerd is asked by commands in it."""

    guest: str
    owner_uid: str


Where = Path | InGuest
"""Where a guest's dockerd is asked: through the host's directory that the guest sees at /run/dsecos, or in
it.
"""


class ComposeFailedError(AdapterError):
    """`docker compose` refused or failed.

    `log` is the tail of what it said, values of secrets blanked out; `service` the service that it was about,
    empty where compose did not say.
    """

    def __init__(self, message: str, log: str = "", *, service: str = "") -> None:
        """Keep compose's own words beside a message that fits a condition."""
        super().__init__(message)
        self.log = log
        self.service = service


class ImageNotFoundError(ComposeFailedError):
    """The registry does not have it, or this node may not read it, or its name is none."""


class RegistryUnreachableError(ComposeFailedError, RetryableError):
    """The image is not on the node, and there is no connection to its registry."""


class ServiceUnhealthyError(ComposeFailedError, RetryableError):
    """All was started, but a service did not get healthy or ended."""


class ConfigInvalidError(ComposeFailedError):
    """Compose does not accept the document."""


class ComposeTimeoutError(ComposeFailedError, RetryableError):
    """It was still busy when the time was over."""


class DockerUnavailableError(RetryableError):
    """The guest's dockerd does not answer (yet), or the thing at its socket's place is no socket."""

    told: ClassVar = "the guest's dockerd does not answer"
    """What a condition says: nothing of it is the guest's word."""


class GuestUnreachableError(DockerUnavailableError):
    """No command reaches the guest (yet)."""

    told: ClassVar = "no command reaches the guest: what takes them in it does not answer"


class DockerMissingError(DockerUnavailableError):
    """There is no docker in the guest."""

    told: ClassVar = "there is no docker in the guest: its template has to bring it"


@dataclass(frozen=True, slots=True)
class Service:
    """One container of the project, as its dockerd tells."""

    name: str
    """The compose service."""
    image: str
    image_id: str
    state: str
    """created, running, paused, restarting, removing, exited, dead"""
    health: str
    """starting, healthy, unhealthy, or none when the service has no health check"""
    restarts: int
    exit_code: int | None
    config_hash: str
    """Compose's own hash of the service it made this container from."""


class Compose(Protocol):
    """Offered by `runner.GuestCompose`.

    `time_limit` is in seconds.
    """

    async def wait_ready(self, where: Where, *, time_limit: float) -> str:
        """Poll until dockerd answers and return its version. Raises DockerUnavailableError."""

    async def up(
        self, guest: str, owner_uid: str, document: str, *, env: Mapping[str, str], time_limit: float
    ) -> None:
        """Make the project what the document says and wait until its services run and are healthy.

        `env` holds the secrets that the document refers to. Raises one of ComposeFailedError's kinds,
        GuestNotRunningError, GuestSilentError.
        """

    async def down(self, guest: str, owner_uid: str, *, time_limit: float) -> None:
        """Stop and remove the project's containers and networks; named volumes stay."""

    async def services(self, where: Where) -> Sequence[Service]:
        """All containers of the project, sorted by name. Raises DockerUnavailableError."""

    async def logs(self, where: Where, service: str, *, tail: int = 100) -> str:
        """Last lines of one service, bounded to 256 KiB. Raises DockerUnavailableError, NotFoundError."""

    def subscribe(self, where: Where, callback: Callable[[], None]) -> Watch:
        """Call back, on the event loop, when a container of the project starts, dies or changes its health.

        Connects again by itself while the watch is open; each (re)connection calls back once as well, and
        so does the end of one. In a guest that shares nothing it is looked now and then instead.
        """
