"""The Go toolchain of our own, pinned by hash in `toolchain.txt`, in a virtual environment in the cache.

The machine's Go is never used: a Debian release has one that is too old for Kubernetes, and a build should
not depend on where it runs.
"""

import hashlib
import shutil
from pathlib import Path

from dsecos_control_plane.command import run
from dsecos_control_plane.errors import CommandError, ToolchainError
from dsecos_control_plane.settings import SOURCE

REQUIREMENTS = SOURCE / "hack" / "control-plane" / "toolchain.txt"
PYTHON = Path("/usr/bin/python3")
"""Debian's Python: readable by every user, unlike one under the administrator's home."""


def uv() -> Path:
    """Return the `uv` that `make` installed, or else the one on the PATH.

    Raises:
        ToolchainError: there is none.
    """
    own = SOURCE / ".uv" / "bin" / "uv"
    found = own if own.exists() else shutil.which("uv")
    if found is None:
        msg = "uv is missing: run this through make, which installs it"
        raise ToolchainError(msg)
    return Path(found)


def uv_environment() -> dict[str, str]:
    """Return the variables that hold uv to Debian's Python."""
    return {
        "UV_PYTHON": str(PYTHON),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "VIRTUAL_ENV": "",
    }


def go(cache: Path) -> tuple[Path, dict[str, str]]:
    """Return the `go` program and the environment that keeps its caches in ours; it is installed if missing.

    Raises:
        ToolchainError: it could not be installed.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    venv = cache / "go" / f"toolchain-{digest}"
    marker = venv / "complete"
    if not marker.exists():
        try:
            run([uv(), "venv", "--clear", "--python", PYTHON, venv], env=uv_environment())
            install = ["pip", "install", "--require-hashes", "--requirement", str(REQUIREMENTS)]
            run([uv(), *install, "--python", venv / "bin" / "python"], env=uv_environment())
        except CommandError as error:
            msg = f"the Go toolchain could not be installed: {error}"
            raise ToolchainError(msg) from error
        marker.touch()
    environment = {
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache / "go" / "build"),
        "GOENV": "off",
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false -modcacherw",
        "GOMODCACHE": str(cache / "go" / "mod"),
        "GOPATH": str(cache / "go" / "path"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    return venv / "bin" / "go", environment
