"""What an engine has done to a cluster: no task is issued again whose work was done and not undone since."""

from collections import defaultdict
from collections.abc import Iterator

from dsecos_proxmox_simulator import Simulator
from dsecos_proxmox_simulator.tasks import Task

from .weather import DONE

UNDONE_BY = {
    "start": {"stop", "shutdown", "rollback", "migrate", "destroy", "create"},
    "stop": {"start", "create", "destroy", "migrate"},
    "shutdown": {"start", "create", "destroy", "migrate"},
    "destroy": {"create", "restore", "clone"},
    "create": {"destroy"},
    "suspend": {"resume", "stop", "start", "rollback"},
    "resume": {"suspend", "stop", "start", "rollback"},
}
"""Verb of a task -> verbs after which it may be issued again."""


def verb_of(task: Task) -> str:
    """`start` of vzstart and qmstart."""
    verb = task.type.removeprefix("vz").removeprefix("qm")
    return {"pause": "suspend"}.get(verb, verb)


def was_done(task: Task) -> bool:
    """It did its work, whatever it said."""
    return task.exitstatus == "OK" or task.exitstatus.startswith("WARNINGS") or task.exitstatus == DONE


class Histories:
    """Reads the simulator's history; is told what others did in between."""

    def __init__(self, simulator: Simulator, token: str) -> None:
        """`token` is how the engine calls itself."""
        self._simulator = simulator
        self._token = token
        self._disturbed: list[tuple[int, int]] = []

    def clear(self) -> None:
        """Begin anew."""
        self._disturbed.clear()

    def disturbed(self, vmid: int = 0) -> None:
        """Somebody else has started, stopped or removed this guest, or all."""
        self._disturbed.append((len(self._simulator.tasks.history), vmid))

    def doubled(self) -> Iterator[str]:
        """What was issued twice."""
        done: defaultdict[int, dict[str, Task]] = defaultdict(dict)
        disturbances = list(self._disturbed)
        for number, task in enumerate(self._simulator.tasks.history):
            while disturbances and disturbances[0][0] <= number:
                vmid = disturbances.pop(0)[1]
                for each in [vmid] if vmid else list(done):
                    done[each].clear()
            if task.type in {"qmclone", "qmdestroy"}:
                # A clone's task names its template, not the guest that it makes.
                done[task.vmid].clear()
                continue
            verb, earlier = verb_of(task), done[task.vmid]
            if verb in UNDONE_BY and verb in earlier and task.identity.auth_id == self._token:
                first = earlier[verb]
                both = f"{first.upid} {first.exitstatus}, {task.upid} {task.exitstatus}"
                yield f"{verb} of {task.vmid} twice: {both}"
            for other, undoers in UNDONE_BY.items():
                if verb in undoers and was_done(task):
                    earlier.pop(other, None)
            if verb in UNDONE_BY and was_done(task):
                earlier[verb] = task
        yield from self._made_twice()

    def _made_twice(self) -> Iterator[str]:
        """One guest under two ids at the same time."""
        names: defaultdict[int, list[str]] = defaultdict(list)
        for call in self._simulator.calls.to("POST", "/nodes/{node}/lxc"):
            if call.done:
                names[int(str(call.parameters["vmid"]))].append(str(call.parameters.get("tags", "")))
        standing: dict[str, int] = {}
        disturbances = list(self._disturbed)
        for number, task in enumerate(self._simulator.tasks.history):
            gone = {vmid for at, vmid in disturbances if at <= number}
            if verb_of(task) == "destroy":
                standing = {name: vmid for name, vmid in standing.items() if vmid != task.vmid}
            elif verb_of(task) == "create" and names[task.vmid]:
                name = names[task.vmid].pop(0)
                other = standing.get(name)
                if other is not None and other not in gone and was_done(task):
                    yield f"{name} was made as {task.vmid} beside {other}"
                standing[name] = task.vmid
