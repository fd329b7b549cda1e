"""Ask processes whether they are ready."""

import ssl
import time
from collections.abc import Callable

import httpx

from dsecos_control_plane.errors import NotReadyError
from dsecos_control_plane.processes import Probe, Process

INTERVAL = 0.1
"""Seconds between two questions."""


def is_ready(probe: Probe) -> bool:
    """Tell whether the process behind a probe answers as it should."""
    context = ssl.create_default_context(cafile=str(probe.authority))
    if probe.certificate and probe.key:
        context.load_cert_chain(probe.certificate, probe.key)
    try:
        return httpx.get(probe.url, verify=context, timeout=2, trust_env=False).status_code == probe.status
    except httpx.HTTPError:
        return False


def answers(url: str) -> bool:
    """Tell whether an application answers with what it is for, rather than with an error."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def wait_ready(process: Process, timeout: float) -> None:
    """Wait until a process is ready, at most `timeout` seconds; one without a probe counts as ready.

    Raises:
        NotReadyError: it was not ready in time.
    """
    probe = process.probe
    if probe is not None:
        wait(lambda: is_ready(probe), f"{process.name} to be ready", timeout)


def wait(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Poll until a condition holds, at most `timeout` seconds; `what` completes "waited for ...".

    Raises:
        NotReadyError: it did not hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            msg = f"waited {timeout:.0f} s in vain for {what}"
            raise NotReadyError(msg)
        time.sleep(INTERVAL)
