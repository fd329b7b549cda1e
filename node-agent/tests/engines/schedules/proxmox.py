"""A simulated Proxmox VE cluster of two nodes, in a process of its own, that weather and people disturb.

What is there is read from the simulator's own state, and from the tasks and calls that it has seen.
"""

import json
import logging
import os
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Interface
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dsecos_agent.engines.model import (
    Adopted,
    Capabilities,
    GuestConfig,
    GuestKind,
    GuestState,
    Limits,
    NetworkInterface,
    RootImage,
)
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_proxmox_simulator import Guest, Simulator, World

from .engines import TOKEN, grants, make_engine
from .history import Histories
from .model import GIB, MIB, Vocabulary, Wanted
from .weather import KINDS, Weather

OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
NODES = ("pve1", "pve2")
VMIDS = range(20000, 20040)
TEMPLATE = 9000
GUESTS = {
    "one": GuestKind.CONTAINER,
    "two": GuestKind.CONTAINER,
    "three": GuestKind.VM,
    "four": GuestKind.CONTAINER,
    "five": GuestKind.VM,
}
ADOPTED = {"four": 110, "five": 111}
"""Those that were there before."""
THEIRS = {
    "tags": "ann",
    "description": "Ask Ann.",
    "onboot": "1",
    "startup": "order=3,down=9",
    "memory": "512",
    "cores": "2",
}
LIMITS = ("cpulimit", "memory")
"""What stays as we have set it when a guest is given back."""
LEFT_BY_DEAD_TASKS = ("disk", "migrate", "rollback", "snapshot", "snapshot-delete", "suspending")
"""Locks that root alone can take away. One of a creation is none of them: the engine goes on beside it."""
PACE = 0.02
"""Of the simulator: a task takes some 0.1 s, so that kills find it on its way."""
IDLE = 20.0
"""Seconds for what the cluster still has to do."""

BY_PEOPLE = {
    "destroyed by hand": 2,
    "changed by hand": 2,
    "started by hand": 2,
    "stopped by hand": 2,
    "moved by HA": 2,
    "locked by a backup": 2,
    "id taken": 1,
    "node gone": 1,
}
"""Beside them the kinds of weather, each as often as one of these."""


class ProxmoxWorld:
    """One cluster; several may lie side by side."""

    owner = OWNER
    rounds = 80

    def __init__(self, home: Path, number: int) -> None:
        """Begin the simulator's process."""
        self._home = home
        self._number = number
        self._connection, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                self._connection.close()
                _Stage(home).serve(theirs)
                code = 0
            except BaseException:  # noqa: BLE001 - a forked process must not run on into its parent's code
                traceback.print_exc()
            finally:
                os._exit(code)
        theirs.close()
        self._settings = ProxmoxSettings(
            **self._ask("address"),
            node=NODES[0],
            vmids=VMIDS,
            connections=3,
            answer_limit=10.0,
            lock_limit=2.0,
            settle_limit=0.15,
        )

    # For the engine's process

    def engine(self) -> Engine:
        """A new engine with the notes of the one before."""
        return make_engine(self._settings, self._home)

    def config(self, name: str, wanted: Wanted) -> GuestConfig:
        """A guest on a bridge, with a disk of its own; or one that was there before."""
        limits = Limits(cpu_millis=500, memory_bytes=wanted.memory)
        if wanted.adopts:
            root = Adopted(wanted.adopts)
            return GuestConfig(name, OWNER, root, None, kind=wanted.kind, limits=limits)
        number = list(GUESTS).index(name)
        port = NetworkInterface(
            host_name="unused",
            bridge="vmbr0",
            mac=f"02:00:00:00:00:{number:02x}",
            address=IPv4Interface(f"10.250.0.{number + 2}/24"),
            gateway=None,
        )
        return GuestConfig(
            name=name,
            owner_uid=OWNER,
            root=RootImage("debian", GIB),
            id_map=None,
            kind=wanted.kind,
            hostname=wanted.hostname,
            interfaces=(port,),
            limits=limits,
        )

    # For the player

    def vocabulary(self, capabilities: Capabilities) -> Vocabulary:
        """Guests of both nodes, people and weather."""
        return Vocabulary(
            GUESTS,
            capabilities,
            {**BY_PEOPLE, **dict.fromkeys(KINDS, 1), "calm": 4},
            adopts={name: f"{vmid}" for name, vmid in ADOPTED.items()},
            nodes=NODES,
            moves=frozenset({"moved by HA"}),
            kill_within=24,
            kill_delay=0.1,
        )

    def reset(self) -> None:
        """An empty cluster but for what is foreign; nothing is noted."""
        shutil.rmtree(self._home / "state", ignore_errors=True)
        self._ask("reset")

    def fault(self, name: str, guest: str, number: int) -> bool:
        """Let it happen; whether it hit anything (weather is counted where it strikes)."""
        return bool(self._ask("fault", name, guest, number))

    def struck(self) -> Mapping[str, int]:
        """Strikes of the weather since the last reset."""
        struck: Mapping[str, int] = self._ask("struck")
        return struck

    def heal(self) -> None:
        """Fair weather, all nodes up."""
        self._ask("heal")

    def quiet(self) -> bool:
        """Wait for tasks that outlived the engine that began them."""
        return bool(self._ask("quiet"))

    def watch(self, starts: Mapping[str, int]) -> list[str]:
        """What was issued twice is found out at the end, from the history."""
        return []

    def violations(self, wanted: Mapping[str, Wanted]) -> list[str]:
        """What is not as declared, and what is there beside it."""
        found: list[str] = self._ask("violations", dict(wanted))
        return found + list(self._noted(wanted))

    def close(self) -> None:
        """End the simulator."""
        self._connection.send(("close",))
        os.waitpid(self._pid, 0)
        self._connection.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def _noted(self, wanted: Mapping[str, Wanted]) -> Iterator[str]:
        for path in sorted((self._home / "state").rglob("*")):
            if path.is_dir() or path.name.startswith("template"):
                continue
            name, note = path.stem, json.loads(path.read_text()) if path.suffix == ".json" else {}
            if path.suffix != ".json" or wanted.get(name, Wanted()).state is None:
                yield f"the note {path.name} is left: {path.read_text()}"
            elif note["intent"] is not None:
                yield f"a task of {name} is noted as on its way: {note['intent']}"

    def _ask(self, request: str, *args: object) -> Any:
        self._connection.send((request, *args))
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Stage:
    """The simulator's process."""

    def __init__(self, home: Path) -> None:
        self._weather = Weather()
        self._world = World(nodes=NODES, pace=PACE)
        self._simulator = Simulator(self._world, faults=self._weather.faults())
        self._foreign: dict[int, tuple[str, dict[str, str]]] = {}
        self._adoptables: dict[int, dict[str, str]] = {}
        self._histories = Histories(self._simulator, TOKEN)
        self._weather.taken = self._take

    def serve(self, connection: Connection) -> None:
        """Answer until told to close."""
        # Clients that are killed are nothing to report.
        logging.disable(logging.CRITICAL)
        self._simulator.start()
        while True:
            request, *args = connection.recv()
            if request == "close":
                self._simulator.stop()
                return
            answer: object
            try:
                answer = getattr(self, request)(*args)
            except Exception:  # noqa: BLE001 - told to the parent, which raises it
                answer = RuntimeError(traceback.format_exc())
            connection.send(answer)

    def address(self) -> dict[str, str]:
        """How to reach it."""
        user, name = TOKEN.split("!")
        secret = self._simulator.add_token(user, name, grants(NODES))
        return {
            "url": self._simulator.url,
            "fingerprint": self._simulator.fingerprint,
            "token": f"{TOKEN}={secret}",
        }

    def reset(self) -> None:
        """Take away all guests; two that are not ours are there again, and two that can be adopted."""
        self.heal()
        self._simulator.tasks.wait_idle(IDLE)
        for vmid in list(self._world.guests):
            self._world.destroy_guest(vmid)
        self._simulator.tasks.history.clear()
        self._simulator.calls.clear()
        self._simulator.schema_errors.clear()
        self._histories.clear()
        self._weather.struck.clear()
        self._foreign = {}
        self._take(
            TEMPLATE,
            kind="qemu",
            storage="local-lvm",
            disk="1G",
            name="dsecos-debian",
            template="1",
            tags="dsecos-template",
        )
        self._take(VMIDS.start + 1, hostname="one", description="of somebody else", status="running")
        self._take(105, hostname="two", memory="512")
        for vmid in ADOPTED.values():
            self._adoptable(vmid)

    def fault(self, name: str, guest: str, number: int) -> bool:
        """By people, or by the weather."""
        if name == "calm" or name in KINDS:
            self._weather.change(name, number)
            return False
        method: Callable[[Guest | None, int], bool] = getattr(self, "_" + name.lower().replace(" ", "_"))
        return method(self._find(guest), number)

    def struck(self) -> dict[str, int]:
        """Strikes of the weather."""
        return dict(self._weather.struck)

    def heal(self) -> None:
        """Fair weather, all nodes up, and an administrator unlocks what a node that went away left locked."""
        self._weather.change("calm", 0)
        for name in NODES:
            self._node_back(name)
        self.quiet()
        for guest in self._world.guests.values():
            if guest.lock in LEFT_BY_DEAD_TASKS:
                del guest.config["lock"]

    def quiet(self) -> bool:
        """Wait until nothing runs; whether anything did."""
        were = not self._simulator.tasks.wait_idle(0)
        assert self._simulator.tasks.wait_idle(IDLE), "the cluster does not come to rest"
        return were

    def violations(self, wanted: Mapping[str, Wanted]) -> list[str]:
        """Everything that is wrong."""
        found = [*self._beside(wanted), *self._foreign_touched(), *self._histories.doubled()]
        for name, want in wanted.items():
            found += self._judge(name, want)
        found += self._not_given_back(wanted)
        errors = sorted(set(self._simulator.schema_errors))
        return [*found, *(f"the simulator broke its schema: {error}" for error in errors)]

    # Looking

    def _ours(self) -> list[Guest]:
        theirs = {*self._foreign, *(vmid for vmid in self._adoptables if not self._is_marked(vmid))}
        return [guest for vmid, guest in self._world.guests.items() if vmid not in theirs]

    def _is_marked(self, vmid: int) -> bool:
        return "dsecos" in str(self._world.guests[vmid].config)

    def _named(self, name: str) -> list[Guest]:
        return [guest for guest in self._ours() if f"dsecos-guest-{name}" in _tags(guest)]

    def _find(self, name: str) -> Guest | None:
        return next(iter(self._named(name)), None)

    def _beside(self, wanted: Mapping[str, Wanted]) -> Iterator[str]:
        there = {name for name, want in wanted.items() if want.state is not None}
        for guest in self._ours():
            if not any(f"dsecos-guest-{name}" in _tags(guest) for name in there):
                yield f"guest {guest.vmid} is left: {guest.config}"
        used = " ".join(value for guest in self._world.guests.values() for value in guest.config.values())
        for volume in self._world.volumes():
            if volume.vmid in VMIDS and volume.volid not in used:
                yield f"volume {volume.volid} belongs to nothing"

    def _judge(self, name: str, want: Wanted) -> Iterator[str]:
        found = self._named(name)
        if len(found) != int(want.state is not None):
            yield f"{name} exists {len(found)} times: {[guest.vmid for guest in found]}"
        if len(found) != 1 or want.state is None:
            return
        guest = found[0]
        size = next(value.split("size=")[1] for _, value in guest.owned_disks())
        now = {
            "status": _state(guest),
            "hostname": guest.name,
            "memory": int(guest.config.get("memory", "512")) * MIB,
            "disk": _bytes(size),
            "snapshots": sorted(guest.snapshots),
            "node": guest.node if want.node else None,
            "lock": guest.lock,
            "pending": guest.pending,
            "disks": len(list(guest.owned_disks())),
        }
        declared = {
            "status": want.state,
            "hostname": want.hostname,
            "memory": want.memory,
            "disk": want.disk,
            "snapshots": sorted(want.snapshots),
            "node": want.node,
            "lock": "",
            "pending": {},
            "disks": 1,
        }
        if want.adopts:
            del declared["hostname"]
        for key, value in declared.items():
            if now[key] != value:
                yield f"{name} ({guest.vmid}): {key} is {now[key]!r}, declared {value!r}"

    def _not_given_back(self, wanted: Mapping[str, Wanted]) -> Iterator[str]:
        for vmid, before in self._adoptables.items():
            config, ours = self._world.guests[vmid].config, set[str]()
            if any(want.adopts == f"{vmid}" and want.state is not None for want in wanted.values()):
                ours = {"tags", "description", "onboot", "startup"}
            for key in sorted({*config, *before} - {*LIMITS, *ours}):
                # A disk may have grown, and Proxmox VE ends a description with a line's end.
                now, then = (each.get(key, "").partition(",size=")[0].strip() for each in (config, before))
                if now != then:
                    yield f"guest {vmid} was {then!r} in {key}, and is {now!r}"

    def _foreign_touched(self) -> Iterator[str]:
        for vmid, (status, config) in self._foreign.items():
            guest = self._world.guests.get(vmid)
            if guest is None:
                yield f"the foreign guest {vmid} is gone"
            elif (guest.status, guest.config) != (status, config):
                yield f"the foreign guest {vmid} was changed: {guest.status} {guest.config}"

    # People

    def _adoptable(self, vmid: int) -> None:
        kind = next(GUESTS[name] for name, each in ADOPTED.items() if each == vmid)
        beside: dict[str, Any] = {"name": "old", "boot": "order=scsi0", "sockets": "2"}
        if kind is GuestKind.CONTAINER:
            beside = {"hostname": "old", "features": "keyctl=1"}
        place: Any = {"node": NODES[0], "kind": "lxc" if kind is GuestKind.CONTAINER else "qemu"}
        guest = self._world.add_guest(vmid, **place, storage="local-lvm", disk="1G", **{**THEIRS, **beside})
        self._adoptables[vmid] = dict(guest.config)

    def _take(self, vmid: int, **config: Any) -> None:
        guest = self._world.add_guest(vmid, **{"hostname": "foreign", **config})
        self._foreign[vmid] = (guest.status, dict(guest.config))

    def _destroyed_by_hand(self, guest: Guest | None, number: int) -> bool:
        if guest is not None and not guest.lock and guest.vmid not in self._adoptables:
            self._world.destroy_guest(guest.vmid)
            self._histories.disturbed(guest.vmid)
        return guest is not None

    def _changed_by_hand(self, guest: Guest | None, number: int) -> bool:
        changes = ({"memory": "77"}, {"hostname": "hacked"}, {"onboot": "1"}, {"swap": "99"})[number % 4]
        if guest is not None and guest.vmid in self._adoptables:
            # What else somebody changes of such a guest is his.
            changes = ({"memory": "77"}, {"onboot": "1"}, {"cpulimit": "3"})[number % 3]
        if guest is not None and guest.kind == "qemu" and guest.status == "running" and "memory" in changes:
            guest.pending.update(changes)
        elif guest is not None:
            self._world.change_config(guest.vmid, **changes)
        return guest is not None

    def _started_by_hand(self, guest: Guest | None, number: int) -> bool:
        return self._set_status(guest, "running")

    def _stopped_by_hand(self, guest: Guest | None, number: int) -> bool:
        return self._set_status(guest, "stopped")

    def _set_status(self, guest: Guest | None, status: Any) -> bool:
        if guest is None or guest.status == status or guest.lock:
            return False
        self._world.set_status(guest.vmid, status)
        self._histories.disturbed(guest.vmid)
        return True

    def _moved_by_ha(self, guest: Guest | None, number: int) -> bool:
        if guest is None or guest.lock or guest.vmid in self._adoptables:
            return False
        self._world.move_guest(guest.vmid, NODES[1 - NODES.index(guest.node)])
        return True

    def _locked_by_a_backup(self, guest: Guest | None, number: int) -> bool:
        if guest is None or guest.lock:
            return False
        self._world.set_lock(guest.vmid, "backup")

        def release() -> None:
            if guest.lock == "backup":
                del guest.config["lock"]

        self._simulator.tasks.later(1 + number % 20, release)
        return True

    def _id_taken(self, guest: Guest | None, number: int) -> bool:
        vmid = VMIDS[number % len(VMIDS)]
        if vmid in self._world.guests:
            return False
        self._take(vmid)
        return True

    def _node_gone(self, guest: Guest | None, number: int) -> bool:
        name = NODES[number % 2]
        self._world.node_down(name)

        self._simulator.tasks.later(5 + number % 10, lambda: self._node_back(name))
        return True

    def _node_back(self, name: str) -> None:
        if self._world.nodes[name].online:
            return
        self._world.node_up(name)
        self._histories.disturbed()
        for vmid, (_, config) in self._foreign.items():
            if self._world.guests[vmid].node == name:
                self._foreign[vmid] = ("stopped", config)


def _tags(guest: Guest) -> list[str]:
    return guest.config.get("tags", "").replace(",", ";").split(";")


def _state(guest: Guest) -> GuestState:
    if guest.status == "running":
        return GuestState.SUSPENDED if guest.paused else GuestState.RUNNING
    return GuestState.STOPPED


def _bytes(size: str) -> int:
    return int(size[:-1]) << {"K": 10, "M": 20, "G": 30, "T": 40}[size[-1]]
