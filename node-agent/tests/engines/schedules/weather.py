"""What goes wrong between an engine and the simulator, of one kind at a time."""

from collections import Counter
from collections.abc import Callable, Mapping

from dsecos_proxmox_simulator import (
    DroppedConnection,
    FailedTask,
    Fault,
    Faults,
    GatewayError,
    HeldLock,
    IdTaken,
    LockTimeout,
    LostAnswer,
    NoWorker,
    SlowTask,
    TaskUnknown,
    WarnedTask,
)
from dsecos_proxmox_simulator.faults import Site
from dsecos_proxmox_simulator.tasks import Effect

UNDONE = "failed before anything was done"
DONE = "failed after all was done"
"""What failed tasks say, so that the history tells which of them did their work."""

KINDS: Mapping[str, tuple[Callable[[], Fault], ...]] = {
    "lost answers": (LostAnswer,),
    "dropped connections": (DroppedConnection,),
    "gateway errors": (
        lambda: GatewayError(595, done=False),
        lambda: GatewayError(596, done=True),
        lambda: GatewayError(596, done=False),
        lambda: GatewayError(599, done=True),
    ),
    "no workers": (NoWorker,),
    "unknown tasks": (TaskUnknown,),
    "held locks": (HeldLock,),
    "lock timeouts": (LockTimeout,),
    "slow tasks": (SlowTask,),
    "warned tasks": (WarnedTask,),
    "failed tasks": (lambda: FailedTask(UNDONE, done=False), lambda: FailedTask(DONE, done=True)),
    "ids taken by others": (IdTaken,),
}
RATE = 0.3
"""Share of the requests of its kind that weather strikes."""


class Weather(Fault):
    """The fault of the moment; `struck` counts by kind."""

    def __init__(self) -> None:
        """Calm."""
        self.struck: Counter[str] = Counter()
        self.taken: Callable[[int], None] = lambda vmid: None
        """Told of ids that others take."""
        self._name = ""
        self._kind: Fault = Fault()
        self._faults = Faults(rate=0.0, kinds=[self])

    def faults(self) -> Faults:
        """For the simulator."""
        return self._faults

    def change(self, name: str, number: int) -> None:
        """To another kind, or to `calm`."""
        makers = KINDS.get(name, ())
        self._name, self._kind = name, makers[number % len(makers)]() if makers else Fault()
        self._faults.rate = RATE if makers else 0.0

    @property
    def effect(self) -> Effect | None:  # type: ignore[override]  # computed here, an attribute elsewhere
        """Of the kind that reigns."""
        return self._kind.effect

    def applies(self, site: Site) -> bool:
        """As the kind says."""
        return self._kind.applies(site)

    def before(self, site: Site) -> None:
        """As the kind says; counted."""
        self.struck[self._name] += 1
        if isinstance(self._kind, IdTaken):
            if site.vmid and site.cluster.world.guest(site.vmid) is None:
                self.taken(site.vmid)
            return
        self._kind.before(site)

    def after(self, site: Site) -> None:
        """As the kind says."""
        self._kind.after(site)
