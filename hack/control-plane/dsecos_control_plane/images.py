"""Guest template and catalog images: built by `dsecos-images`, pushed to this node's registry."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from dsecos_control_plane import configs
from dsecos_control_plane.command import TAIL_LINES
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.progress import Say
from dsecos_control_plane.settings import SOURCE, Settings


def build(settings: Settings, output: Path, say: Say) -> None:
    """Bring guest template and compose program into a folder, building what the cache lacks.

    Raises:
        CommandError: the build failed.
    """
    _run(["build", "--cache", str(settings.cache / "images"), "--output", str(output)], say)


def install_compose(settings: Settings) -> None:
    """Put the compose program of the images into the folder of programs, where the operator looks for it."""
    compose = settings.home / "images" / "bin" / "docker-compose"
    link = settings.bin / compose.name
    if not (link.exists() and link.samefile(compose)):
        fresh = link.with_name(f".{link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.hardlink_to(compose.resolve())
        fresh.replace(link)


def push(settings: Settings, say: Say) -> None:
    """Push to the registry's write side what it lacks.

    Raises:
        CommandError: the registry refused it, or does not answer.
    """
    registry = ["--registry", f"https://127.0.0.1:{settings.registry_port}"]
    trust = ["--ca", str(settings.pki / "registry-ca.crt")]
    login = ["--username", configs.REGISTRY_USER, "--password-file", str(settings.registry_password)]
    _run(["push", "--cache", str(settings.cache / "images"), *registry, *trust, *login], say)


def _run(arguments: Sequence[str], say: Say) -> None:
    """Run `dsecos-images` and pass on the lines that it writes to standard error."""
    program = SOURCE / ".venv" / "bin" / "dsecos-images"
    lines: list[str] = []
    with subprocess.Popen(
        [program, *arguments], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace"
    ) as process:
        for line in process.stderr or ():
            lines.append(line.strip())
            say(lines[-1])
    say("")
    if process.returncode != 0:
        msg = f"{Path(program).name} {arguments[0]} failed: " + "\n".join(lines[-TAIL_LINES:])
        raise CommandError(msg)
