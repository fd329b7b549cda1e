"""The credentials of operator and agent: tokens bound to a Secret, so that deleting the Secret revokes them.

A token lasts a day. The service renews it in its kubeconfig well before (dsecos_runtime.tokens); here one is
made when there is none, or when the machine was off for longer than the token lasted.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dsecos_control_plane.files import folder, read, write
from dsecos_control_plane.identity import Identity
from dsecos_control_plane.kubectl import Kubectl
from dsecos_control_plane.pki import kubeconfig
from dsecos_control_plane.settings import Settings

LIFETIME = "24h"


@dataclass(frozen=True)
class Account:
    """A service account and the Secret in its namespace that its tokens are bound to."""

    namespace: str
    name: str
    secret: str


def ensure(settings: Settings, account: Account, path: Path, owner: Identity | None) -> bool:
    """Write a kubeconfig for a service account unless the one that is there still works; return whether it
    was.

    The file and its folder are for `owner` alone, who renews the token in place.

    Raises:
        CommandError: the account or the Secret is missing, or the server does not answer.
    """
    folder(path.parent, mode=0o700, owner=owner)
    admin = Kubectl(settings)
    cluster = _cluster(admin)
    if _works(settings, cluster, path):
        return False
    bound = ["--bound-object-kind=Secret", f"--bound-object-name={account.secret}"]
    scope = [f"--namespace={account.namespace}", f"--duration={LIFETIME}"]
    token = admin("create", "token", account.name, *scope, *bound).strip()
    write(path, kubeconfig(cluster, {"token": token}), mode=0o600, owner=owner)
    return True


def _cluster(kubectl: Kubectl) -> dict[str, Any]:
    """Return where the cluster is and how it is trusted, in a kubeconfig's words, files put in line."""
    view = kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json")
    cluster: dict[str, Any] = yaml.safe_load(view)["clusters"][0]["cluster"]
    return cluster


def _works(settings: Settings, cluster: dict[str, Any], path: Path) -> bool:
    """Tell whether a kubeconfig is as we write it but for its token, and the server takes that token.

    The file belongs to a service, and a kubeconfig may name programs to run: root uses a copy that it made
    itself of nothing but the token.
    """
    try:
        document = yaml.safe_load(read(path) or b"")
        expected = kubeconfig(cluster, {"token": str(document["users"][0]["user"]["token"])})
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        return False
    if document != yaml.safe_load(expected):
        return False
    with tempfile.NamedTemporaryFile("w", dir=settings.run) as copy:
        copy.write(expected)
        copy.flush()
        return Kubectl(settings, Path(copy.name)).succeeds("auth", "whoami")
