"""What can be done before anything is started: packages, programs, images. All of it is kept for the next
time.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dsecos_control_plane import builds, images, packages
from dsecos_control_plane.errors import ControlPlaneError
from dsecos_control_plane.progress import Steps
from dsecos_control_plane.settings import Settings


def check_host() -> None:
    """Refuse a host that this cannot work on, before anything is changed.

    Raises:
        ControlPlaneError: not root, or no apt-get.
    """
    if os.geteuid() != 0:
        msg = "this makes containers, bridges and mounts: run it as root"
        raise ControlPlaneError(msg)
    if shutil.which("apt-get") is None or not Path("/etc/debian_version").exists():
        msg = "this host is not Debian: DsecOS runs on Debian 12 and 13"
        raise ControlPlaneError(msg)


def install_packages(settings: Settings, steps: Steps, more: Iterable[str] = ()) -> None:
    """Install the Debian packages that are missing: those of a node, those for building images, and `more`.

    Raises:
        CommandError: apt-get failed.
    """
    with steps.step("Debian packages") as say:
        if missing := packages.missing([*packages.wanted(), *more]):
            say(f"installing {', '.join(missing)}")
            packages.install(settings, missing)
            say(f"installed {', '.join(missing)}")


def build_programs(
    settings: Settings, steps: Steps, programs: Sequence[str] = tuple(builds.PROGRAMS)
) -> Path:
    """Build the programs that the cache lacks and return the folder that holds them.

    Raises:
        ToolchainError: a program could not be built.
    """
    with steps.step("Kubernetes programs") as say:

        def report(done: int, total: int) -> None:
            say(f"{done} of {total} packages compiled" if total else "looking what to compile")

        folder = builds.build(settings.cache, programs, report)
        say(builds.kubernetes_version((builds.MODULE / "go.mod").read_text()))
    return folder


def build_images(settings: Settings, steps: Steps, output: Path) -> None:
    """Build guest template and images that the cache lacks, and bring them to `output`.

    Raises:
        CommandError: the build failed.
    """
    with steps.step("Guest template and images") as say:
        images.build(settings, output, say)


def build_everything(settings: Settings, steps: Steps, more: Iterable[str] = ()) -> None:
    """Install packages and fill the cache, so that `up` and the tests need not wait for a compiler.

    Raises:
        ControlPlaneError: one of the steps failed.
    """
    check_host()
    install_packages(settings, steps, more)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(max_workers=1) as beside:
        images_built = beside.submit(build_images, settings, steps, Path(scratch))
        build_programs(settings, steps)
        images_built.result()
