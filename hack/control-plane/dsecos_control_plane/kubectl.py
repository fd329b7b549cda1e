"""Talk to the cluster through kubectl: it knows every way to log in that a user's own kubeconfig may name."""

import json
from pathlib import Path
from typing import Any

import yaml

from dsecos_control_plane.command import run
from dsecos_control_plane.errors import CommandError
from dsecos_control_plane.settings import Settings

FIELD_MANAGER = "dsecos-install"


class Kubectl:
    """kubectl with one kubeconfig."""

    def __init__(self, settings: Settings, kubeconfig: Path | None = None) -> None:
        self._program = settings.bin / "kubectl"
        self._kubeconfig = kubeconfig or settings.kubeconfig

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl and return its standard output.

        Raises:
            CommandError: it failed or took longer than `timeout` seconds.
        """
        environment = {"KUBECONFIG": str(self._kubeconfig), "HOME": "/nonexistent"}
        return run([self._program, *args], env=environment, stdin=stdin, timeout=timeout)

    def succeeds(self, *args: str) -> bool:
        """Tell whether kubectl ends well."""
        try:
            self(*args)
        except CommandError:
            return False
        return True

    def get(self, *args: str) -> Any:
        """Return one object, or a list of them, as kubectl prints it in JSON.

        Raises:
            CommandError: there is no such object, or the server does not answer.
        """
        return json.loads(self("get", "--output=json", *args))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects server-side, as their one owner of the fields that they name."""
        self.apply_from("--filename=-", stdin=yaml.safe_dump_all(objects))

    def apply_from(self, *source: str, stdin: str | None = None) -> None:
        """Apply what `--filename=` or `--kustomize=` names."""
        ownership = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}")
        self("apply", *ownership, *source, stdin=stdin)

    def wait(self, condition: str, *objects: str, timeout: float) -> None:
        """Wait for a condition, at most `timeout` seconds.

        Raises:
            CommandError: it did not hold in time, or the object is not there.
        """
        arguments = [f"--for={condition}", f"--timeout={timeout:.0f}s"]
        self("wait", *arguments, *objects, timeout=timeout + 10)
