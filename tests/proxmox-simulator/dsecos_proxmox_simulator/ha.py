"""The HA manager: it brings its guests into their state, and moves them when asked or when a node is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsecos_proxmox_simulator import guests
from dsecos_proxmox_simulator.access import ROOT, Identity
from dsecos_proxmox_simulator.errors import ApiError
from dsecos_proxmox_simulator.model import HaResource

if TYPE_CHECKING:
    from dsecos_proxmox_simulator.cluster import Cluster
    from dsecos_proxmox_simulator.model import Guest
    from dsecos_proxmox_simulator.tasks import Work

ROUND = 10.0
"""Seconds between two looks of the manager."""
ATTEMPTS = 3
"""Steps in a row that may fail before the manager gives up with the state error."""
FENCE = 120.0
"""Seconds until a node that is gone counts as fenced and its guests are taken over."""


class Manager:
    """Acts some time after it was told, by tasks of root@pam that are its own."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def resource(self, sid: str) -> HaResource:
        """The resource; `120` stands for `ct:120` or `vm:120`. Raises ApiError 500."""
        found = self._cluster.world.ha.get(self.full_sid(sid))
        if found is None:
            raise ApiError(500, f"no such resource '{self.full_sid(sid)}'")
        return found

    def full_sid(self, sid: str) -> str:
        """`ct:120` of `120`."""
        if ":" in sid:
            return sid
        guest = self._cluster.world.guests.get(int(sid))
        return f"{'vm' if guest and guest.kind == 'qemu' else 'ct'}:{sid}"

    def add(self, sid: str, vmid: int, state: str = "started") -> None:
        """A guest that HA manages from now on."""
        self._cluster.world.ha[sid] = HaResource(sid, vmid, state)
        self.look_later(sid)

    def set_state(self, sid: str, state: str) -> None:
        """Ask for a state; the manager acts at its next look."""
        self.resource(sid).state = state
        self.look_later(sid)

    def look_later(self, sid: str, seconds: float = ROUND) -> None:
        """Plan the next look."""
        self._cluster.tasks.later(seconds, lambda: self._look(sid))

    def request_move(self, sid: str, target: str) -> None:
        """Ask for another node; the manager migrates at its next look."""
        self.resource(sid).target = target
        self.look_later(sid)

    def node_changed(self, node: str) -> None:
        """A node went or came back."""
        world = self._cluster.world
        for resource in world.ha.values():
            guest = world.guests.get(resource.vmid)
            if guest is not None and guest.node == node:
                resource.service_state = "fence" if not world.nodes[node].online else "started"
                self.look_later(resource.sid, ROUND if world.nodes[node].online else FENCE)

    def _look(self, sid: str) -> None:
        """One step towards the wanted state, and another look after it, until it is reached."""
        world = self._cluster.world
        resource = world.ha.get(sid)
        guest = world.guests.get(resource.vmid) if resource else None
        if resource is None or guest is None:
            return
        if not world.nodes[guest.node].online:
            self._take_over(resource, guest)
            return
        seconds = self._step(resource, guest)
        up = resource.state in ("started", "enabled")
        if not seconds:
            resource.attempts, resource.service_state = 0, "started" if up else "stopped"
            return
        resource.attempts += 1
        if resource.attempts > ATTEMPTS:
            resource.service_state = "error"
            return
        self.look_later(sid, ROUND + seconds)

    def _step(self, resource: HaResource, guest: Guest) -> float:
        """Begin what is next; how long it takes, 0 if nothing is to be done."""
        if guest.lock:
            return ROUND
        target, resource.target = resource.target, ""
        if target and target != guest.node:
            resource.service_state = "migrate"
            self._spawn("migrate", guest, guests.move_work(self._cluster, guest, target, restart=True))
            return guests.DURATIONS["migrate"] + guests.DURATIONS["shutdown"]
        if resource.state in ("started", "enabled") and guest.status == "stopped":
            work = guests.start_work(self._cluster, guest.node, guest.kind, guest.vmid)
            self._spawn("start", guest, work)
            return guests.DURATIONS["start"]
        if resource.state in ("stopped", "disabled") and guest.status == "running":
            self._spawn(
                "shutdown", guest, guests.stop_work(self._cluster, guest, guests.DURATIONS["shutdown"])
            )
            return guests.DURATIONS["shutdown"]
        return 0.0

    def _spawn(self, what: str, guest: Guest, work: Work) -> None:
        type_ = f"{guests.PREFIX[guest.kind]}{what}".replace("qmmigrate", "qmigrate")
        self._cluster.tasks.spawn(guest.node, type_, str(guest.vmid), Identity(ROOT), work)

    def _take_over(self, resource: HaResource, guest: Guest) -> None:
        """Only a guest whose disks are all shared can be started elsewhere."""
        world = self._cluster.world
        others = [name for name, node in world.nodes.items() if node.online]
        disks = [value.split(",")[0].split(":", 1)[0] for _key, value in guest.owned_disks()]
        if not others or not all(world.storages[name].shared for name in disks):
            resource.service_state = "error"
            return
        world.move_guest(guest.vmid, others[0])
        guest.status = "stopped"
        guest.config.pop("lock", None)
        resource.service_state = "started"
        self.look_later(resource.sid)
