"""As whom each service runs: no service is root that need not be, and none can read another's keys."""

import os
import pwd
from dataclasses import dataclass

from dsecos_control_plane.settings import Settings

_RANGE = ("etcd", "kube-apiserver", "kube-controller-manager", "registry", "registry-read")
"""Services that run under a numeric id of their own, without an entry in /etc/passwd that would have to be
removed.
"""


@dataclass(frozen=True)
class Identity:
    """A numeric user and group."""

    uid: int
    gid: int


def identity(settings: Settings, service: str) -> Identity | None:
    """Return as whom a service runs, or None if as the user of this process.

    That is root for the agent; and everything where this process is not root, so that tests of the API need
    no root. The ids lie just below the guests' id maps: no guest's id meets them, and each instance has its
    own.
    """
    if os.geteuid() != 0:
        return None
    if service == "operator":
        nobody = pwd.getpwnam("nobody")
        return Identity(nobody.pw_uid, nobody.pw_gid)
    if service in _RANGE:
        number = settings.guest_id_base - 16 + _RANGE.index(service)
        return Identity(number, number)
    return None
