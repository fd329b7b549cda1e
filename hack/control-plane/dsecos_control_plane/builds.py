"""The programs of the control plane, built from pinned Go modules, and their content-addressed cache."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from dsecos_control_plane.command import TAIL_LINES, run
from dsecos_control_plane.errors import ToolchainError
from dsecos_control_plane.files import write
from dsecos_control_plane.lock import locked
from dsecos_control_plane.processes import VERSION
from dsecos_control_plane.settings import SOURCE
from dsecos_control_plane.toolchain import REQUIREMENTS, go

MODULE = SOURCE / "hack" / "control-plane"

PROGRAMS = {
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "etcd": "./cmd/etcd",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
"""Name of each program and the Go package that holds its main function."""

Report = Callable[[int, int], None]
"""Called with the number of packages compiled so far and of all that need compiling, 0 while it is not known.
"""


def kubernetes_version(go_mod: str) -> str:
    """Return the Kubernetes version, such as `v1.36.3`, that a `go.mod` pins.

    Raises:
        ToolchainError: it pins none.
    """
    found = re.search(r"^\s*k8s\.io/kubernetes (v\d+\.\d+\.\d+\S*)", go_mod, re.MULTILINE)
    if found is None:
        msg = "go.mod does not pin k8s.io/kubernetes"
        raise ToolchainError(msg)
    return found[1]


def linker_flags(version: str) -> str:
    """Return the flags that write a Kubernetes version into a program.

    Without them the programs say `v0.0.0-master+$Format:%H$`, which kubectl and clients cannot compare. The
    variables are those that Kubernetes' own hack/lib/version.sh sets.
    """
    major, minor = version.removeprefix("v").split(".")[:2]
    variables = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = [f"-X {package}.{name}={value}" for package in packages for name, value in variables.items()]
    return " ".join(["-s", "-w", *flags])


def build_key() -> str:
    """Return the content key of the programs: the same sources give the same key on every machine."""
    digest = hashlib.sha256()
    sources = [MODULE / "go.mod", MODULE / "go.sum", REQUIREMENTS, *sorted((MODULE / "cmd").rglob("*.go"))]
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.relative_to(MODULE)} {len(content)}\n".encode() + content)
    digest.update(os.uname().machine.encode())
    return digest.hexdigest()[:16]


def build(cache: Path, programs: Sequence[str] = tuple(PROGRAMS), report: Report | None = None) -> Path:
    """Build the programs that the cache lacks and return the folder that holds them.

    Safe to call from several processes at once: one builds, the others wait for it.

    Raises:
        ToolchainError: a program could not be built.
    """
    folder = cache / "control-plane" / build_key()
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / name).exists() for name in programs):
        return folder
    with locked(cache / "control-plane" / "lock"):
        if missing := [name for name in programs if not (folder / name).exists()]:
            _build(cache, missing, folder, report or _silent)
    return folder


def install(folder: Path, target: Path, programs: Sequence[str] = tuple(PROGRAMS)) -> None:
    """Put the built programs into `target`, as hard links where that is possible."""
    target.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in programs:
        source, destination = folder / name, target / name
        if destination.exists() and _same(source, destination):
            continue
        fresh = target / f".{name}.new"
        fresh.unlink(missing_ok=True)
        try:
            fresh.hardlink_to(source)
        except OSError:
            shutil.copy2(source, fresh)
        fresh.replace(destination)
    write(target / VERSION, f"{folder.name}\n")


def _same(source: Path, destination: Path) -> bool:
    ours, theirs = source.stat(), destination.stat()
    copied = (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    return source.samefile(destination) or copied


def _build(cache: Path, programs: Sequence[str], folder: Path, report: Report) -> None:
    """Build programs in one call of the compiler, so that no core waits while one of them is linked."""
    program, environment = go(cache)
    environment = {**os.environ, **environment}
    flags = ["-ldflags", linker_flags(kubernetes_version((MODULE / "go.mod").read_text()))]
    packages = [PROGRAMS[name] for name in programs]
    listing = ["list", "-deps", "-f", "{{if .Stale}}x{{end}}", *flags, *packages]
    report(0, 0)
    total = len(run([program, *listing], env=environment, cwd=MODULE).split())
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [str(program), "build", "-v", *flags, "-o", f"{scratch}/", *packages]
        lines: list[str] = []
        with subprocess.Popen(
            command, env=environment, cwd=MODULE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        ) as compiler:
            for line in compiler.stderr or ():
                lines.append(line.rstrip())
                report(len(lines), max(total, len(lines)))
        if compiler.returncode != 0:
            msg = f"{', '.join(programs)} could not be built: " + "\n".join(lines[-TAIL_LINES:])
            raise ToolchainError(msg)
        for name in programs:
            built = Path(scratch) / name
            built.chmod(0o755)
            built.replace(folder / name)


def _silent(_done: int, _total: int) -> None:
    """Report nothing."""
