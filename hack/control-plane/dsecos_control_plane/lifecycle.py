"""Start and stop the embedded control plane: etcd, API server, controller manager."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsecos_control_plane import builds, configs, home, pki, processes, readiness
from dsecos_control_plane.backend import Backend
from dsecos_control_plane.builds import Report
from dsecos_control_plane.errors import NotReadyError
from dsecos_control_plane.files import read
from dsecos_control_plane.processes import Process
from dsecos_control_plane.settings import Settings
from dsecos_control_plane.supervisord import Supervisord
from dsecos_control_plane.systemd import Systemd

READY_SECONDS = 90
"""How long a process may take to become ready on a busy machine; on an idle one it is 1 to 5 s."""


def choose_backend(settings: Settings) -> Backend:
    """Return the backend for this host; systemd is PID 1 where /run/systemd/system exists (sd_booted(3))."""
    return Systemd(settings) if Path("/run/systemd/system").is_dir() else Supervisord(settings)


def prepare(settings: Settings, report: Report | None = None) -> None:
    """Put everything on disk that the processes need: programs, keys, configuration.

    Raises:
        ControlPlaneError: a program could not be built, or the home is not ours.
    """
    home.prepare(settings)
    builds.install(builds.build(settings.cache, report=report), settings.bin)
    pki.ensure(settings)
    configs.write_all(settings)


def start(backend: Backend, wanted: Sequence[Process]) -> list[str]:
    """Start processes one after another, each once the one before is ready, and return those that were
    started.

    Raises:
        NotReadyError: one of them was not ready in time.
    """
    started: list[str] = []
    for process in wanted:
        started += backend.apply([with_content(process)])
        try:
            readiness.wait_ready(process, READY_SECONDS)
        except NotReadyError as error:
            msg = f"{error}; its log ends with:\n{backend.log(process.name)}"
            raise NotReadyError(msg) from error
    return started


def with_content(process: Process) -> Process:
    """Return a process whose revision changes with the content of the files that it reads at its start."""
    digest = hashlib.sha256(process.revision.encode())
    for path in process.files:
        digest.update(hashlib.sha256(read(path) or b"").digest())
    return replace(process, revision=digest.hexdigest()[:16])


def start_control_plane(settings: Settings, backend: Backend) -> list[str]:
    """Start etcd, API server and controller manager and wait until they are ready."""
    return start(backend, processes.control_plane(settings))
