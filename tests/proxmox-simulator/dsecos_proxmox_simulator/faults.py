"""What goes wrong between a client and Proxmox VE, by script or by seeded chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsecos_proxmox_simulator.errors import ApiError, bad_parameters, failure, unauthorized
from dsecos_proxmox_simulator.tasks import Effect

if TYPE_CHECKING:
    from dsecos_proxmox_simulator.cluster import Cluster

CHANGES = frozenset({"POST", "PUT", "DELETE"})
TASK_STATUS = "/nodes/{node}/tasks/{upid}/status"


class ConnectionDroppedError(Exception):
    """The connection ends without an answer."""


@dataclass(frozen=True, slots=True)
class Site:
    """The request that a fault may strike."""

    cluster: Cluster
    method: str
    template: str
    parameters: dict[str, object]

    @property
    def vmid(self) -> int:
        """The guest that the request is about, 0 if none."""
        text = str(self.parameters.get("vmid", ""))
        return int(text) if text.isdigit() else 0


class Fault:
    """One thing that goes wrong. `effect` strikes the task that the request begins."""

    effect: Effect | None = None

    def applies(self, site: Site) -> bool:
        """Whether chance may pick it for this request."""
        return site.method in CHANGES

    def before(self, site: Site) -> None:
        """Before the request is looked at."""

    def after(self, site: Site) -> None:
        """After it was carried out, before the answer."""


class LostAnswer(Fault):
    """The change happened, and the connection is dropped instead of an answer."""

    def after(self, site: Site) -> None:
        raise ConnectionDroppedError


class DroppedConnection(Fault):
    """The connection is dropped before anything happened."""

    def applies(self, site: Site) -> bool:
        return True

    def before(self, site: Site) -> None:
        raise ConnectionDroppedError


GATEWAY = {
    595: "No route to host",
    596: "Connection timed out",
    599: "Too many redirections",
}


@dataclass(frozen=True)
class GatewayError(Fault):
    """595, 596 or 599 of the proxy, without a body. With `done` the change happened all the same."""

    status: int = 596
    done: bool = True

    def applies(self, site: Site) -> bool:
        return True

    def before(self, site: Site) -> None:
        if not self.done:
            raise ApiError(self.status, GATEWAY[self.status], empty=True)

    def after(self, site: Site) -> None:
        raise ApiError(self.status, GATEWAY[self.status], empty=True)


class NoWorker(Fault):
    """500 "got no worker upid": nothing was begun."""

    def before(self, site: Site) -> None:
        raise failure("got no worker upid - start worker failed")


@dataclass
class TaskUnknown(Fault):
    """The first look at a new task answers 400."""

    seen: set[str] = field(default_factory=set)

    def applies(self, site: Site) -> bool:
        upid = str(site.parameters.get("upid", ""))
        first = upid not in self.seen
        self.seen.add(upid)
        return site.template == TASK_STATUS and first

    def before(self, site: Site) -> None:
        raise bad_parameters({"upid": "no such task"})


class ExpiredTicket(Fault):
    """401, as when the ticket is older than two hours."""

    def applies(self, site: Site) -> bool:
        return True

    def before(self, site: Site) -> None:
        raise unauthorized("permission denied - invalid PVE ticket")


class IdTaken(Fault):
    """Somebody else takes the id just before the guest is made."""

    def applies(self, site: Site) -> bool:
        return site.method == "POST" and site.template in ("/nodes/{node}/lxc", "/nodes/{node}/qemu")

    def before(self, site: Site) -> None:
        if site.vmid and site.cluster.world.guest(site.vmid) is None:
            site.cluster.world.take_vmid(site.vmid)


@dataclass(frozen=True)
class HeldLock(Fault):
    """Somebody else's job locks the guest for so many lifelike seconds."""

    seconds: float = 5.0
    lock: str = "backup"

    def applies(self, site: Site) -> bool:
        return site.method in CHANGES and "{vmid}" in site.template

    def before(self, site: Site) -> None:
        world = site.cluster.world
        guest = world.guest(site.vmid)
        if guest is None or guest.lock:
            return
        guest.config["lock"] = self.lock

        def release() -> None:
            if guest.lock == self.lock:
                del guest.config["lock"]

        site.cluster.tasks.later(self.seconds, release)


class LockTimeout(Fault):
    """500 because the configuration file's own lock was not to be had."""

    def applies(self, site: Site) -> bool:
        return site.method in CHANGES and "{vmid}" in site.template

    def before(self, site: Site) -> None:
        raise failure(f"can't lock file '/run/lock/lxc/pve-config-{site.vmid}.lock' - got timeout")


class SilentAgent(Fault):
    """500 because the guest agent did not answer in time, as it does under load."""

    def applies(self, site: Site) -> bool:
        return "/agent/" in site.template

    def before(self, site: Site) -> None:
        raise failure("QEMU guest agent is not running")


@dataclass(frozen=True)
class SlowTask(Fault):
    """The task takes so many times as long."""

    factor: float = 20.0

    @property
    def effect(self) -> Effect:  # type: ignore[override]  # computed here, an attribute elsewhere
        """What it does to the task."""
        return Effect(slower=self.factor)


@dataclass(frozen=True)
class WarnedTask(Fault):
    """The task ends with `WARNINGS: n`; its work is done."""

    warnings: int = 1

    @property
    def effect(self) -> Effect:  # type: ignore[override]  # computed here, an attribute elsewhere
        """What it does to the task."""
        return Effect(warnings=self.warnings)


@dataclass(frozen=True)
class FailedTask(Fault):
    """The task ends with an error; with `done` the work was done all the same, as qmstart may."""

    text: str = "start failed: got timeout"
    done: bool = True

    def applies(self, site: Site) -> bool:
        return site.method == "POST" and site.template.endswith("/status/start")

    @property
    def effect(self) -> Effect:  # type: ignore[override]  # computed here, an attribute elsewhere
        """What it does to the task."""
        return Effect(error_after=self.text) if self.done else Effect(error_before=self.text)


@dataclass(frozen=True)
class NodeGone(Fault):
    """The node goes away for so many lifelike seconds."""

    seconds: float = 300.0

    def applies(self, site: Site) -> bool:
        return "{node}" in site.template and len(site.cluster.world.nodes) > 1

    def before(self, site: Site) -> None:
        node = str(site.parameters["node"])
        site.cluster.world.node_down(node)
        site.cluster.tasks.later(self.seconds, lambda: site.cluster.world.node_up(node))


KINDS: tuple[Fault | Callable[[], Fault], ...] = (
    LostAnswer,
    DroppedConnection,
    GatewayError(595, done=False),
    GatewayError(596, done=False),
    GatewayError(596, done=True),
    GatewayError(599, done=True),
    NoWorker,
    TaskUnknown,
    HeldLock,
    LockTimeout,
    SlowTask,
    WarnedTask,
    FailedTask,
)
"""What chance picks from unless told otherwise: all that a client can get over without a person."""


class Faults:
    """Which fault strikes which request: scripted ones first, then chance with `rate` between 0 and 1."""

    def __init__(
        self, rate: float = 0.0, seed: int = 0, kinds: Sequence[Fault | Callable[[], Fault]] = KINDS
    ) -> None:
        self.rate = rate
        self.seed = seed
        self._random = random.Random(seed)  # reproducible faults, not secrets
        self._kinds = [kind if isinstance(kind, Fault) else kind() for kind in kinds]
        self._scripted: list[tuple[str, str, Fault, list[int]]] = []
        self.struck: list[tuple[str, str, str]] = []

    def once(self, method: str, template: str, fault: Fault, *, skip: int = 0, times: int = 1) -> None:
        """Strike the next request of this method and path template, after `skip` of them, so many `times`."""
        self._scripted.append((method, template, fault, [skip, times]))

    def always(self, method: str, template: str, fault: Fault) -> None:
        """Strike every such request, until `clear`."""
        self.once(method, template, fault, times=1 << 30)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._scripted.clear()
        self.rate = 0.0

    def choose(self, site: Site) -> Fault | None:
        """The fault that strikes this request, which is noted in `struck`."""
        fault = self._next_scripted(site) or self._by_chance(site)
        if fault is not None:
            self.struck.append((site.method, site.template, type(fault).__name__))
        return fault

    def _next_scripted(self, site: Site) -> Fault | None:
        for entry in self._scripted:
            method, template, fault, left = entry
            if (method, template) != (site.method, site.template):
                continue
            if left[0] > 0:
                left[0] -= 1
                continue
            left[1] -= 1
            if left[1] <= 0:
                self._scripted.remove(entry)
            return fault
        return None

    def _by_chance(self, site: Site) -> Fault | None:
        if self.rate <= 0 or site.template.startswith("/access") or self._random.random() >= self.rate:
            return None
        candidates: Iterable[Fault] = [kind for kind in self._kinds if kind.applies(site)]
        choices = list(candidates)
        return self._random.choice(choices) if choices else None
