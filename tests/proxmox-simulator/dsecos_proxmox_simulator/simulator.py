"""The simulator as a test holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from dsecos_proxmox_simulator.access import Access
from dsecos_proxmox_simulator.calls import Calls
from dsecos_proxmox_simulator.certificates import make_certificate
from dsecos_proxmox_simulator.cluster import Cluster
from dsecos_proxmox_simulator.faults import Faults
from dsecos_proxmox_simulator.server import Server
from dsecos_proxmox_simulator.tasks import Task, Tasks
from dsecos_proxmox_simulator.world import World


class SchemaViolationError(AssertionError):
    """An answer of the simulator that the real API's schema does not allow."""


class ManualClock:
    """A clock that a test moves, in seconds since 1970."""

    def __init__(self, now: float | None = None) -> None:
        self._now = time.time() if now is None else now
        self._mutex = threading.Lock()

    def __call__(self) -> float:
        with self._mutex:
            return self._now

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        with self._mutex:
            self._now += seconds


class Simulator:
    """A Proxmox VE cluster behind one address.

    On leaving the `with`, what failed inside the simulator is raised again, and SchemaViolationError if an
    answer broke the real schema.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        faults: Faults | None = None,
        version: str = "8.4",
        clock: Callable[[], float] = time.time,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.world = world or World()
        self.version = version
        self._host, self._port = host, port
        self._cluster = Cluster(self.world, faults or Faults(), version, clock)
        self._certificate = make_certificate(host, list(self.world.nodes))
        self._cluster.fingerprint = self._certificate.fingerprint
        self._server = Server(self._cluster, self._certificate)

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self.tasks.bugs:
            raise self.tasks.bugs[0]
        if error is None and self.schema_errors:
            raise SchemaViolationError("\n".join(sorted(set(self.schema_errors))))

    def start(self) -> None:
        """Listen; `url` is known then. After a stop it is the same again, and so is the world."""
        self._port = self._server.start(self._host, self._port)

    def stop(self) -> None:
        """End it; tasks that run end as if their workers were killed."""
        self._server.stop()

    @property
    def host(self) -> str:
        """Address and port, as proxmoxer takes them."""
        return f"{self._host}:{self._port}"

    @property
    def url(self) -> str:
        """Base address, `https://127.0.0.1:41233`; the API lies at /api2/json below it."""
        return f"https://{self.host}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, upper case with colons."""
        return self._certificate.fingerprint

    @property
    def ca_pem(self) -> str:
        """The certificate, its own authority, as PEM."""
        return self._certificate.pem

    @property
    def faults(self) -> Faults:
        """What goes wrong; may be replaced at any time."""
        return self._cluster.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._cluster.faults = faults

    @property
    def access(self) -> Access:
        """Users, tokens, roles, grants."""
        return self._cluster.access

    @property
    def tasks(self) -> Tasks:
        """The tasks that were issued, and waiting for them."""
        return self._cluster.tasks

    @property
    def calls(self) -> Calls:
        """Every request that came in."""
        return self._cluster.calls

    @property
    def schema_checked(self) -> bool:
        """Whether the real API's schema is at hand, so that every answer is held against it."""
        return self._cluster.schema is not None

    @property
    def schema_errors(self) -> list[str]:
        """Answers that broke the real schema."""
        return self._cluster.schema_errors

    def issued(self, type_: str = "", vmid: int = 0) -> list[Task]:
        """The tasks of a type, on a guest, in the order of their start."""
        return self.tasks.issued(type_, vmid)

    def add_token(
        self, user: str, token: str, privileges: Mapping[str, Iterable[str]], *, privsep: bool = True
    ) -> str:
        """Make user and token, grant both the privileges by path, and return the token's secret."""
        with self.world.mutex:
            return self.access.add_token(user, token, privileges, privsep=privsep)

    def renew_certificate(self) -> None:
        """Another certificate from the next connection on, as after a reinstallation."""
        self._certificate = make_certificate(self._host, list(self.world.nodes))
        self._cluster.fingerprint = self._certificate.fingerprint
        self._server.show(self._certificate)
