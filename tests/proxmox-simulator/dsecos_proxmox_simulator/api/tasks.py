"""/nodes/{node}/tasks and /cluster/tasks."""

from __future__ import annotations

from dsecos_proxmox_simulator.errors import ApiError, missing_privilege
from dsecos_proxmox_simulator.routing import Request, Routes
from dsecos_proxmox_simulator.tasks import Task

routes = Routes()
ONE = "/nodes/{node}/tasks/{upid}"


def shown(task: Task, *, saved: bool = False) -> dict[str, object]:
    """A task as lists show it."""
    data: dict[str, object] = {
        "upid": task.upid,
        "node": task.node,
        "type": task.type,
        "id": task.id,
        "user": task.identity.user,
        "starttime": task.starttime,
    }
    if task.identity.token:
        data["tokenid"] = task.identity.token
    if not task.running:
        data |= {"endtime": task.endtime, "status": task.exitstatus}
    if saved:
        return data | {"saved": "0" if task.running else "1"}
    return data | {"pid": task.pid, "pstart": task.pstart}


def visible(request: Request, task: Task) -> bool:
    """Own tasks, those of the same user's tokens, and all with Sys.Audit on the node."""
    return task.identity.user == request.identity.user or request.may(f"/nodes/{task.node}", "Sys.Audit")


def find(request: Request) -> Task:
    """The task of the path. Raises ApiError for an unknown one and for somebody else's."""
    task = request.cluster.tasks.find(request.text("upid"))
    if not visible(request, task):
        raise missing_privilege(f"/nodes/{request.node}", ["Sys.Audit"])
    return task


@routes.add(
    "GET",
    "/nodes/{node}/tasks",
    """
    errors       boolean
    limit        integer 0..
    since        integer
    source       string =archive|active|all
    start        integer 0..
    statusfilter string format:pve-task-status-type-list
    typefilter   string
    until        integer
    userfilter   string
    vmid         integer 100..999999999 format:pve-vmid
    """,
)
def tasks_of_node(request: Request) -> object:
    """Tasks, newest first; those that run only from the sources active and all."""
    source = request.text("source", "archive")
    found = []
    for task in reversed(request.cluster.tasks.history):
        if task.node != request.node or not visible(request, task) or not _wanted(request, task, source):
            continue
        found.append(shown(task))
    start = request.number("start")
    return found[start : start + request.number("limit", 50)]


def _wanted(request: Request, task: Task, source: str) -> bool:
    if (source == "archive" and task.running) or (source == "active" and not task.running):
        return False
    if request.has("vmid") and task.id.split("@")[0] != str(request.vmid):
        return False
    if request.flag("errors") and (task.running or task.exitstatus == "OK"):
        return False
    if request.has("since") and task.starttime < request.number("since"):
        return False
    if request.has("until") and task.starttime > request.number("until"):
        return False
    if request.has("userfilter") and request.text("userfilter").lower() not in task.identity.auth_id.lower():
        return False
    if request.has("statusfilter") and _kind(task) not in request.text("statusfilter").split(","):
        return False
    return not request.has("typefilter") or task.type == request.text("typefilter")


def _kind(task: Task) -> str:
    if task.exitstatus in ("OK", ""):
        return "ok" if task.exitstatus else "unknown"
    return "warning" if task.exitstatus.startswith("WARNINGS") else "error"


@routes.add("GET", f"{ONE}/status")
def status(request: Request) -> object:
    """running, or stopped with its exit status."""
    task = find(request)
    data = {key: value for key, value in shown(task).items() if key not in ("endtime", "status")}
    if task.running:
        return data | {"status": "running"}
    return data | {"status": "stopped", "exitstatus": task.exitstatus}


@routes.add("GET", f"{ONE}/log", "download boolean\nlimit integer 0..\nstart integer 0..")
def log(request: Request) -> object:
    """Numbered lines."""
    lines = find(request).log or ["no content"]
    start = request.number("start")
    limit = request.number("limit", 50) or len(lines)
    return [{"n": n, "t": line} for n, line in enumerate(lines, 1)][start : start + limit]


@routes.add("DELETE", ONE)
def stop(request: Request) -> object:
    """Ask a task to stop; one that has ended stays as it is."""
    task = request.cluster.tasks.find(request.text("upid"))
    if task.identity.user != request.identity.user and not request.may(
        f"/nodes/{request.node}", "Sys.Modify"
    ):
        raise ApiError(403, f"Permission check failed (/nodes/{request.node}, Sys.Modify)")
    task.stop_requested = True
    return None


@routes.add("GET", "/cluster/tasks")
def tasks_of_cluster(request: Request) -> object:
    """The newest tasks of all nodes."""
    found = [t for t in reversed(request.cluster.tasks.history) if visible(request, t)]
    return [shown(task, saved=True) for task in found[:25]]
