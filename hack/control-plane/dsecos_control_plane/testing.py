"""A control plane of a test's own: real etcd, kube-apiserver and kube-controller-manager, ready in some
seconds.

    from dsecos_control_plane.testing import ControlPlane

    @pytest.fixture(scope="session")
    def control_plane() -> Iterator[ControlPlane]:
        with ControlPlane() as plane:
            yield plane

    def test_something(control_plane: ControlPlane) -> None:
        control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=document)
        assert control_plane.kubectl("get", "stacks", "-A", "-o", "name") == ""

It has its own home `/tmp/dsecos-test-<pid>-<random>`, free ports, an instance name, a link prefix and an id
range of its own, so that it runs beside a real instance and beside other tests. `plane.settings` has them
all, and `plane.settings.environment()` gives them to another process. `plane.kubeconfig` is the
administrator's.

`plane.kubectl(...)` returns standard output and raises `CommandError` (its text is kubectl's own) on failure.
`plane.stop()` and `plane.start()` stop and start it with its data kept; leaving the context removes
everything. What a killed test run left behind is removed when the next one starts.

The programs come from the same cache as those of `make up`: the first run builds them (about 10 minutes on 2
cores).
"""

import os
import secrets
import shutil
import socket
import string
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import psutil
from rich.console import Console

from dsecos_control_plane import down, home, lifecycle
from dsecos_control_plane.command import run
from dsecos_control_plane.errors import ControlPlaneError
from dsecos_control_plane.progress import Steps
from dsecos_control_plane.settings import Settings

PREFIX = "dsecos-test-"
FIRST_PORT = 24_000
"""Below are the ports of the end-to-end tests, some of which are bound only later."""


class ControlPlane:
    """A running control plane; a context manager."""

    def __init__(self) -> None:
        self.settings = scratch_settings()
        """Settings of this instance: home, ports, names."""
        self._backend = lifecycle.choose_backend(self.settings)

    def __enter__(self) -> "ControlPlane":
        """Build what is missing, start, and wait until everything is ready."""
        try:
            lifecycle.prepare(self.settings)
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and remove everything."""
        self.remove()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.settings.admin_kubeconfig

    def start(self) -> None:
        """Start whatever does not run and wait until it is ready."""
        lifecycle.start_control_plane(self.settings, self._backend)

    def stop(self) -> None:
        """Stop all processes; data and keys stay."""
        self._backend.close()

    def remove(self) -> None:
        """Stop all processes and remove the home."""
        remove(self.settings)

    def kubectl(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl as the administrator and return what it wrote to standard output.

        Raises:
            CommandError: it failed or took longer than `timeout` seconds.
        """
        environment = {"KUBECONFIG": str(self.kubeconfig)}
        return run([self.settings.bin / "kubectl", *args], env=environment, stdin=stdin, timeout=timeout)

    def pid(self, name: str) -> int:
        """Return the process id of a process such as `etcd`, or 0 while it does not run."""
        return next((state.pid for state in self._backend.states() if state.name == name), 0)


def scratch_settings() -> Settings:
    """Return settings that collide with no other instance: a new home, ports, names and ids of their own.

    Whoever calls this removes it all with `remove`; if he is killed, the next call does.
    """
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    api, manager, operator, agent, etcd, _, registry, _ = _free_ports()
    prefix = secrets.choice(string.ascii_lowercase) + secrets.choice(string.digits)
    return Settings(
        home=folder,
        instance=f"dsecos_test_{secrets.token_hex(4)}",
        link_prefix=prefix,
        api_port=api,
        controller_manager_port=manager,
        operator_metrics_port=operator,
        agent_metrics_port=agent,
        etcd_port=etcd,
        registry_port=registry,
        guest_id_base=100_000_000 + secrets.randbelow(10_000) * 65_536 * 4,
    )


def remove(settings: Settings) -> None:
    """Stop every process of an instance, take it from the host, and remove its home."""
    if (settings.home / home.MARKER).exists():
        with Steps(Console(quiet=True)) as steps:
            down.clean(settings, steps)
    elif settings.home.exists():
        shutil.rmtree(settings.home)


def remove_leftovers() -> None:
    """Stop and remove the instances of test runs that were killed: those whose process is gone.

    One that resists is told as a warning: it has names, ports and ids of its own, and disturbs nobody.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not owner.isdigit() or psutil.pid_exists(int(owner)):
            continue
        if settings := home.recorded(folder):
            try:
                remove(settings)
            except (ControlPlaneError, OSError) as error:
                warnings.warn(f"{folder} of a killed test run is not removed: {error}", stacklevel=2)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> list[int]:
    """Return eight free ports below the range of outgoing connections; the last two pairs are adjacent."""
    with ExitStack() as stack:

        def bind(port: int) -> bool:
            taken = stack.enter_context(socket.socket())
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

        found: list[int] = []
        while len(found) < 8:
            port = FIRST_PORT + 2 * secrets.randbelow(4_000)
            if bind(port) and bind(port + 1):
                found += [port, port + 1]
        return found
