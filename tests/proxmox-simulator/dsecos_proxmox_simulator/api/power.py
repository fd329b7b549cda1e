"""Starting, stopping, suspending and resuming guests."""

from __future__ import annotations

from collections.abc import Generator

from dsecos_proxmox_simulator import guests
from dsecos_proxmox_simulator.errors import TaskError, bad_parameters, failure
from dsecos_proxmox_simulator.privileges import needs
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.tasks import Task, Work

routes = Routes()
POWER = needs("/vms/{vmid}", "VM.PowerMgmt")
LXC = "/nodes/{node}/lxc/{vmid}/status"
QEMU = "/nodes/{node}/qemu/{vmid}/status"


def check_skip_lock(request: Request) -> None:
    """Raises ApiError 400: only root@pam may pass over a lock."""
    if request.flag("skiplock") and not request.identity.is_root:
        raise bad_parameters({"skiplock": "Only root may use this option."})


def by_ha(request: Request, kind: str, state: str, task_type: str) -> str:
    """Hand the wish to the HA manager, as Proxmox does for guests that it manages; empty if it does not."""
    sid = f"{'ct' if kind == 'lxc' else 'vm'}:{request.vmid}"
    if sid not in request.world.ha:
        return ""

    def work(task: Task) -> Generator[float, None, None]:
        task.log.append(f"Requesting HA {state} for {sid}")
        yield guests.DURATIONS["ha"]
        request.cluster.ha.set_state(sid, state)

    return request.spawn(task_type, request.vmid, work)


def running_container(request: Request, word: str = "CT") -> None:
    """Raises ApiError 500 at once if the container does not run."""
    if request.guest("lxc").status != "running":
        raise failure(f"{word} {request.vmid} not running")


@routes.add("POST", f"{LXC}/start", "debug boolean\nskiplock boolean", check=POWER)
def start_container(request: Request) -> object:
    """One that runs, or lacks its bridge, is refused at once; a missing or locked one fails in the task."""
    check_skip_lock(request)
    guest = request.world.guest(request.vmid)
    if guest is not None and guest.kind == "lxc" and guest.node == request.node:
        if guest.status == "running":
            raise failure(f"CT {request.vmid} already running")
        guests.check_bridges(request.world, guest)
    if upid := by_ha(request, "lxc", "started", "hastart"):
        return upid
    work = guests.start_work(
        request.cluster, request.node, "lxc", request.vmid, skip_lock=request.flag("skiplock")
    )
    return request.spawn("vzstart", request.vmid, work)


@routes.add("POST", f"{LXC}/stop", "skiplock boolean\noverrule-shutdown boolean", check=POWER)
def stop_container(request: Request) -> object:
    """At once, without asking the guest."""
    running_container(request)
    check_skip_lock(request)
    if upid := by_ha(request, "lxc", "stopped", "hastop"):
        return upid
    work = guests.stop_work(
        request.cluster, request.guest("lxc"), guests.DURATIONS["stop"], skip_lock=request.flag("skiplock")
    )
    return request.spawn("vzstop", request.vmid, work)


@routes.add("POST", f"{LXC}/shutdown", "forceStop boolean\ntimeout integer 0..", check=POWER)
def shut_container_down(request: Request) -> object:
    """The guest is asked; one whose `world` says that it does not listen needs forceStop."""
    running_container(request)
    if upid := by_ha(request, "lxc", "stopped", "hashutdown"):
        return upid
    return request.spawn("vzshutdown", request.vmid, shutdown_work(request, "lxc"))


def shutdown_work(request: Request, kind: str) -> Work:
    """The task that asks a guest to stop, and makes it with forceStop."""
    guest = request.guest(kind)
    if request.vmid not in request.world.deaf:
        return guests.stop_work(request.cluster, guest, guests.DURATIONS["shutdown"])
    timeout = float(request.number("timeout", 60))
    if request.flag("forceStop"):
        return guests.stop_work(request.cluster, guest, timeout)

    def work(_task: Task) -> Generator[float, None, None]:
        yield timeout
        if kind == "lxc":
            raise TaskError(
                f"command 'lxc-stop -n {guest.vmid} --nokill --timeout {timeout:.0f}' failed: exit code 1"
            )
        raise TaskError("VM quit/powerdown failed - got timeout")

    return work


@routes.add("POST", f"{LXC}/reboot", "timeout integer 0..", check=POWER)
def reboot_container(request: Request) -> object:
    """Stop and start; pending values come into force."""
    running_container(request, "VM")
    return request.spawn("vzreboot", request.vmid, guests.reboot_work(request.cluster, request.guest("lxc")))


@routes.add("POST", f"{LXC}/suspend", check=POWER)
def suspend_container(request: Request) -> object:
    """Fails in the task: there is no CRIU."""
    running_container(request)
    vmid = request.vmid

    def work(task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["suspend"]
        task.log.append(
            f"lxc-checkpoint: {vmid}: ../src/lxc/criu.c: criu_version_ok: 767 No such file or directory - "
            "execing criu failed, is it installed?"
        )
        raise TaskError(f"command 'lxc-checkpoint -n {vmid} -s -D /var/lib/vz/dump' failed: exit code 1")

    return request.spawn("vzsuspend", vmid, work)


@routes.add("POST", f"{LXC}/resume", check=POWER)
def resume_container(request: Request) -> object:
    """Nothing is ever suspended, so a running one is refused and a stopped one fails in the task."""
    if request.guest("lxc").status == "running":
        raise failure(f"CT {request.vmid} already running")
    vmid = request.vmid

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["suspend"]
        raise TaskError(
            f"command 'lxc-checkpoint -n {vmid} -r --foreground -D /var/lib/vz/dump' failed: exit code 1"
        )

    return request.spawn("vzresume", vmid, work)


@routes.add("POST", f"{QEMU}/start", "skiplock boolean\ntimeout integer 0..", check=POWER)
def start_machine(request: Request) -> object:
    """All errors come in the task."""
    check_skip_lock(request)
    if upid := by_ha(request, "qemu", "started", "hastart"):
        return upid
    work = guests.start_work(
        request.cluster, request.node, "qemu", request.vmid, skip_lock=request.flag("skiplock")
    )
    return request.spawn("qmstart", request.vmid, work)


@routes.add(
    "POST",
    f"{QEMU}/stop",
    "skiplock boolean\nkeepActive boolean\noverrule-shutdown boolean\ntimeout integer 0..",
    check=POWER,
)
def stop_machine(request: Request) -> object:
    """At once; one that does not run is no error."""
    check_skip_lock(request)
    guest = request.guest("qemu")
    if upid := by_ha(request, "qemu", "stopped", "hastop"):
        return upid
    work = guests.stop_work(
        request.cluster, guest, guests.DURATIONS["stop"], skip_lock=request.flag("skiplock"), needed=False
    )
    return request.spawn("qmstop", request.vmid, work)


@routes.add(
    "POST",
    f"{QEMU}/shutdown",
    "forceStop boolean\nkeepActive boolean\nskiplock boolean\ntimeout integer 0..",
    check=POWER,
)
def shut_machine_down(request: Request) -> object:
    """The guest is asked by ACPI or its agent."""
    check_skip_lock(request)
    request.guest("qemu")
    if upid := by_ha(request, "qemu", "stopped", "hashutdown"):
        return upid
    return request.spawn("qmshutdown", request.vmid, shutdown_work(request, "qemu"))


@routes.add("POST", f"{QEMU}/reboot", "timeout integer 0..", check=POWER)
def reboot_machine(request: Request) -> object:
    """Stop and start; pending values come into force."""
    guest = request.guest("qemu")
    if guest.status != "running":
        raise failure(f"VM {request.vmid} not running")
    return request.spawn("qmreboot", request.vmid, guests.reboot_work(request.cluster, guest))


@routes.add("POST", f"{QEMU}/reset", "skiplock boolean", check=POWER)
def reset_machine(request: Request) -> object:
    """As the button does."""
    check_skip_lock(request)
    return request.spawn("qmreset", request.vmid, _pause_work(request, paused=False))


@routes.add(
    "POST",
    f"{QEMU}/suspend",
    "skiplock boolean\nstatestorage string format:pve-storage-id requires:todisk\ntodisk boolean",
    check=POWER,
)
def suspend_machine(request: Request) -> object:
    """In memory, or to disk, which stops it and leaves the lock `suspended`."""
    check_skip_lock(request)
    if request.flag("todisk"):
        request.require(f"/vms/{request.vmid}", "VM.Config.Disk")
        return request.spawn("qmsuspend", request.vmid, _hibernate_work(request))
    return request.spawn("qmpause", request.vmid, _pause_work(request, paused=True))


@routes.add("POST", f"{QEMU}/resume", "nocheck boolean\nskiplock boolean", check=POWER)
def resume_machine(request: Request) -> object:
    """From memory, or from disk by a start."""
    check_skip_lock(request)
    guest = request.guest("qemu")
    if guest.lock == "suspended":

        def work(_task: Task) -> Generator[float, None, None]:
            yield guests.DURATIONS["start"]
            guests.still_there(request.world, guest)
            guest.config.pop("lock", None)
            guests.begin(request.world, guest, request.cluster.clock())

        return request.spawn("qmresume", request.vmid, work)
    if guest.status != "running":
        raise failure(f"VM {request.vmid} not running")
    return request.spawn("qmresume", request.vmid, _pause_work(request, paused=False))


def _pause_work(request: Request, *, paused: bool) -> Work:
    node, vmid = request.node, request.vmid

    def work(_task: Task) -> Generator[float, None, None]:
        yield guests.DURATIONS["suspend"]
        guest = request.world.guest_at(node, "qemu", vmid)
        guests.check_lock(guest)
        if guest.status != "running":
            raise TaskError(f"VM {vmid} not running")
        guest.paused = paused

    return work


def _hibernate_work(request: Request) -> Work:
    node, vmid = request.node, request.vmid

    def work(_task: Task) -> Generator[float, None, None]:
        guest = request.world.guest_at(node, "qemu", vmid)
        if guest.status != "running":
            raise TaskError(f"VM {vmid} not running")
        with guests.held(guest, "suspending"):
            yield guests.DURATIONS["snapshot"]
            guests.still_there(request.world, guest)
            guests.end(guest)
        guest.config["lock"] = "suspended"

    return work
