"""`make status`: what runs, where it listens, and which guests there are."""

from datetime import UTC, datetime

import psutil
from rich.console import Console
from rich.table import Table

from dsecos_control_plane import certificates, home, host, lifecycle, processes, readiness
from dsecos_control_plane.backend import State
from dsecos_control_plane.kubectl import Kubectl
from dsecos_control_plane.pki import leaves, load
from dsecos_control_plane.processes import Process
from dsecos_control_plane.settings import Settings


def show(settings: Settings, console: Console) -> bool:
    """Print the state of an instance and return whether all of its processes run and are ready."""
    if not (settings.home / home.MARKER).exists():
        console.print(f"{settings.home} holds no instance; make up starts one")
        return False
    states = {state.name: state for state in lifecycle.choose_backend(settings).states()}
    table = Table("process", "state", "pid", "memory", "listens on", "", box=None, header_style="bold")
    for column in table.columns[:4]:
        column.no_wrap = True
    healthy = bool(states)
    for process in expected(settings):
        state = states.get(process.name, State(process.name, running=False, detail="not started"))
        ready = state.running and (process.probe is None or readiness.is_ready(process.probe))
        healthy = healthy and ready
        word = "[green]ready[/]" if ready else "[yellow]not ready[/]" if state.running else "[red]stopped[/]"
        table.add_row(
            state.name, word, str(state.pid or ""), _memory(state.pid), _ports(state.pid), state.detail
        )
    console.print(table)
    console.print(f"\nguests running: {', '.join(host.guests(settings)) or 'none'}")
    console.print(f"links: {', '.join(host.links(settings)) or 'none'}")
    console.print(f"firewall tables: {', '.join(host.tables(settings)) or 'none'}")
    console.print(f"certificates: {_expiry(settings)}")
    if states and settings.kubeconfig.exists() and Kubectl(settings).succeeds("get", "stacks.dsecos.io"):
        console.print()
        console.print(Kubectl(settings)("get", "dsecos", "--all-namespaces"), markup=False, highlight=False)
    return healthy


def expected(settings: Settings) -> list[Process]:
    """Return the processes that a complete instance has."""
    plane = [] if settings.external_kubeconfig else processes.control_plane(settings)
    services = [processes.operator(settings, ""), processes.agent(settings, "")]
    return [*plane, *processes.registries(settings), *services]


def _memory(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).memory_info().rss >> 20} MiB" if pid else ""
    except psutil.Error:
        return ""


def _ports(pid: int) -> str:
    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp") if pid else []
    except psutil.Error:
        return ""
    return " ".join(
        sorted({f"{s.laddr.ip}:{s.laddr.port}" for s in sockets if s.status == psutil.CONN_LISTEN})
    )


def _expiry(settings: Settings) -> str:
    """Say when the first certificate ends, and that `make up` renews it in time."""
    pairs = [load(settings.pki, leaf.name) for leaf in leaves(settings.node_name, [])]
    ends = [pair.certificate.not_valid_after_utc for pair in pairs if pair]
    if not ends:
        return "none"
    due = min(ends) - certificates.RENEW_BEFORE
    when = "now: run make up" if due < datetime.now(UTC) else f"by make up from {due:%Y-%m-%d} on"
    return f"valid until {min(ends):%Y-%m-%d}, renewed {when}"
