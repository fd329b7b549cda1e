"""Virtual environments for operator and agent in `DSECOS_HOME/venv`: their own code and dependencies, nothing
else.

They hold copies, so that a service runs what was installed and not what is being edited, and so that a user
without access to the checkout can run it.
"""

import hashlib
import shutil
from pathlib import Path

from dsecos_control_plane.command import run
from dsecos_control_plane.files import folder, write
from dsecos_control_plane.settings import SOURCE, Settings
from dsecos_control_plane.toolchain import uv, uv_environment

PARTS = {"operator": ("crds", "runtime", "operator"), "agent": ("crds", "runtime", "node-agent")}
"""Service and the parts of the workspace that it is made of."""

DISTRIBUTIONS = {
    "crds": "dsecos-api",
    "runtime": "dsecos-runtime",
    "operator": "dsecos-operator",
    "node-agent": "dsecos-agent",
}


def content_key(service: str) -> str:
    """Return a key that changes with the service's code or any pinned dependency."""
    digest = hashlib.sha256()
    files = [SOURCE / "uv.lock"]
    for part in PARTS[service]:
        files += [SOURCE / part / "pyproject.toml", *_code(SOURCE / part)]
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(SOURCE)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def ensure(settings: Settings, service: str) -> str:
    """Install a service unless its environment is up to date, and return its content key.

    Raises:
        CommandError: uv failed.
    """
    key = content_key(service)
    venv = folder(settings.home / "venv") / service
    stamp = venv / "content-key"
    if stamp.exists() and stamp.read_text() == key:
        return key
    stamp.unlink(missing_ok=True)
    if venv.exists() and not (venv / "pyvenv.cfg").exists():
        shutil.rmtree(venv)
    own = [f"--reinstall-package={DISTRIBUTIONS[part]}" for part in PARTS[service]]
    sync = ["sync", "--frozen", "--no-dev", "--no-editable", "--compile-bytecode"]
    package = f"--package={DISTRIBUTIONS[PARTS[service][-1]]}"
    environment = {**uv_environment(), "UV_PROJECT_ENVIRONMENT": str(venv)}
    run([uv(), *sync, package, *own], env=environment, cwd=SOURCE)
    write(stamp, key)
    return key


def _code(part: Path) -> list[Path]:
    """Return the files of a part's packages, without tests and caches."""
    packages = [path for path in part.glob("dsecos_*") if path.is_dir()]
    files = [file for package in packages for file in package.rglob("*") if file.is_file()]
    return sorted(file for file in files if "__pycache__" not in file.parts)
