"""The operator beside the agents of a test, and what users apply to both."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from dsecos_control_plane import credentials, objects
from dsecos_control_plane.identity import identity
from dsecos_control_plane.kubectl import Kubectl
from dsecos_control_plane.testing import ControlPlane

from .harness import Object

VERSION = "dsecos.io/v1alpha1"


def compose_program() -> Path:
    """Docker Compose as the guest template has it."""
    cache = Path(os.environ.get("DSECOS_CACHE", "~/.cache/dsecos")).expanduser()
    found = sorted(cache.glob("images/guest/*/docker-compose"), key=lambda path: path.stat().st_mtime)
    assert found, "no docker-compose: build the guest template (dsecos-images build)"
    return found[-1]


def start_operator(plane: ControlPlane) -> subprocess.Popen[bytes]:
    """The operator as `make up` runs it."""
    settings = plane.settings
    objects.install(Kubectl(settings))
    user = identity(settings, "operator")
    kubeconfig = settings.home / "operator" / "kubeconfig"
    credentials.ensure(settings, objects.OPERATOR, kubeconfig, user)
    program = settings.bin / "docker-compose"
    shutil.copyfile(compose_program(), program)
    program.chmod(0o755)
    rights = {"user": user.uid, "group": user.gid, "extra_groups": []} if user is not None else {}
    environment = {**settings.environment(), "PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig)}
    with (settings.home / "operator.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from dsecos_operator.main import main; main()"],
            env={**environment, "DSECOS_OPERATOR_METRICS_PORT": "0"},
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            **rights,
        )


def obj(kind: str, name: str, space: str = "", **spec: object) -> Object:
    """An object of ours."""
    place = {"namespace": space} if space else {}
    return {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name, **place}, "spec": spec}


def namespace(name: str) -> Object:
    """A tenant's."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def stack(name: str, space: str, **spec: object) -> Object:
    """A small one in zone `backend`."""
    wanted = {
        "zone": "backend",
        "compose": {"inline": "services: {web: {image: 'node:20', ports: ['3000:3000']}}"},
        "resources": {"cpu": "50m", "memory": "64Mi", "disk": "1Gi"},
    }
    return obj("Stack", name, space, **wanted | spec)


def apply(plane: ControlPlane, *wanted: Object) -> None:
    """As an administrator, in any namespace."""
    text = "\n---\n".join(map(json.dumps, wanted))
    plane.kubectl("apply", "--server-side", "-f", "-", stdin=text)
