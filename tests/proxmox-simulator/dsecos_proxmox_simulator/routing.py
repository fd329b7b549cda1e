"""Methods by path template: what each takes, whom it lets in, and who answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from dsecos_proxmox_simulator.access import Identity
from dsecos_proxmox_simulator.errors import ApiError, missing_privilege
from dsecos_proxmox_simulator.parameters import Parameter, Table, Value, table
from dsecos_proxmox_simulator.privileges import ANYBODY, Check
from dsecos_proxmox_simulator.tasks import Effect, Work

if TYPE_CHECKING:
    from dsecos_proxmox_simulator.cluster import Cluster
    from dsecos_proxmox_simulator.model import Guest
    from dsecos_proxmox_simulator.world import World

PATH_PARAMETERS = table(
    """
    node!     string format:pve-node
    vmid!     integer 100..999999999 format:pve-vmid
    storage!  string format:pve-storage-id
    volume!   string
    upid!     string
    snapname! string len:..40 format:pve-configid
    userid!   string len:..64 format:pve-userid
    tokenid!  string /[A-Za-z][A-Za-z0-9.\\-_]+/
    roleid!   string format:pve-roleid
    poolid!   string format:pve-poolid
    zone!     string format:pve-sdn-zone-id
    vnet!     string format:pve-sdn-vnet-id
    subnet!   string format:pve-sdn-subnet-id
    sid!      string format:pve-ha-resource-or-vm-id
    """
)
TAIL_PARAMETERS = {"volume", "poolid", "subnet"}
"""Parameters that take the rest of the path, slashes included."""


@dataclass(slots=True)
class Request:
    """One request whose parameters were checked."""

    cluster: Cluster
    identity: Identity
    parameters: dict[str, Value]
    effect: Effect | None = None

    @property
    def world(self) -> World:
        """The state of the cluster."""
        return self.cluster.world

    @property
    def node(self) -> str:
        """The node of the path."""
        return self.text("node")

    @property
    def vmid(self) -> int:
        """The guest of the path, or of the parameters."""
        return self.number("vmid")

    def text(self, name: str, default: str = "") -> str:
        """A parameter as text."""
        return str(self.parameters.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        """An integer parameter."""
        value = self.parameters.get(name, default)
        assert isinstance(value, int)
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean parameter."""
        return bool(self.parameters.get(name, default))

    def has(self, name: str) -> bool:
        """Whether it was given."""
        return name in self.parameters

    def spawn(self, type_: str, id_: str | int, work: Work, *, node: str = "") -> str:
        """Begin a task in the name of who asked; a fault of this request strikes it."""
        effect, self.effect = self.effect, None
        return self.cluster.tasks.spawn(node or self.node, type_, str(id_), self.identity, work, effect)

    def guest(self, kind: str) -> Guest:
        """The guest of the path. Raises ApiError 500 if it is not on this node."""
        return self.world.guest_at(self.node, "lxc" if kind == "lxc" else "qemu", self.vmid)

    def may(self, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Whether who asks has all (or one) of these privileges."""
        allowed = self.cluster.access.allowed(self.identity, path)
        return any(p in allowed for p in privileges) if any_of else allowed.issuperset(privileges)

    def require(self, path: str, *privileges: str) -> None:
        """Raises ApiError 403 that names the first privilege missing."""
        for privilege in privileges:
            if not self.may(path, privilege):
                raise missing_privilege(path, [privilege])

    def require_any(self, path: str, *privileges: str) -> None:
        """Raises ApiError 403 that names all of them if none is there."""
        if not self.may(path, *privileges, any_of=True):
            raise missing_privilege(path, privileges)


Handler = Callable[[Request], object]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True)
class Endpoint:
    """One method of one path. `changes` are parameters that another version declares otherwise.

    `permissions` by version where the versions differ, else under the empty text.
    """

    method: str
    template: str
    parameters: Table
    permissions: Mapping[str, Check | Mapping[str, str]]
    handler: Handler
    since: str = ""
    changes: Mapping[str, Table] = field(default_factory=dict)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the path below /api2/json."""
        text = ""
        for part in re.split(r"(\{\w+\})", self.template):
            name = part.strip("{}")
            if not part.startswith("{"):
                text += re.escape(part)
            elif name in TAIL_PARAMETERS and self.template.endswith(part):
                text += f"(?P<{name}>.+)"
            else:
                text += f"(?P<{name}>[^/]+)"
        return re.compile(text + "$")

    def table(self, version: str) -> Table:
        """The parameters of this version."""
        return {**self.parameters, **self.changes.get(version, {})}

    def permission(self, version: str) -> Check | Mapping[str, str]:
        """The check of this version."""
        return self.permissions.get(version) or self.permissions[""]


@dataclass
class Routes:
    """The methods of one module."""

    endpoints: list[Endpoint] = field(default_factory=list)

    def add(
        self,
        method: str,
        template: str,
        parameters: str | Table = "",
        *,
        check: Check | Mapping[str, str] = ANYBODY,
        check_91: Check | None = None,
        changes_91: str = "",
        since: str = "",
    ) -> Callable[[H], H]:
        """Declare a method. Parameters of the path are declared by PATH_PARAMETERS."""
        own = table(parameters) if isinstance(parameters, str) else parameters
        names = re.findall(r"\{(\w+)\}", template)
        declared: dict[str, Parameter] = {name: PATH_PARAMETERS[name] for name in names} | dict(own)
        permissions: dict[str, Check | Mapping[str, str]] = {"": check}
        if check_91 is not None:
            permissions["9.1"] = check_91

        def register(handler: H) -> H:
            changes = {"9.1": table(changes_91)} if changes_91 else {}
            self.endpoints.append(Endpoint(method, template, declared, permissions, handler, since, changes))
            return handler

        return register


def allow(request_of: Callable[[str], str], cluster: Cluster, identity: Identity, check: object) -> None:
    """Evaluate a declared check; `request_of` gives raw parameters. Raises ApiError 403."""
    if isinstance(check, Mapping):
        return
    assert isinstance(check, list)
    kind = check[0]
    if kind == "perm":
        _allow_path(request_of, cluster, identity, check)
    elif kind == "and":
        for part in check[1:]:
            allow(request_of, cluster, identity, part)
    elif kind == "or":
        _allow_one(request_of, cluster, identity, check[1:])
    elif kind == "userid-param":
        if request_of("userid") != identity.user:
            raise ApiError(403, "Permission check failed")
    elif kind == "userid-group":
        if "User.Modify" not in cluster.access.allowed(identity, "/access/groups"):
            raise missing_privilege("/access/groups", ["User.Modify"])
    elif kind == "perm-modify":
        path = request_of("path")
        if "Permissions.Modify" not in cluster.access.allowed(identity, path):
            raise missing_privilege(path, ["Permissions.Modify"])
    else:
        raise AssertionError(f"unknown check {kind}")


def _allow_path(
    request_of: Callable[[str], str], cluster: Cluster, identity: Identity, check: list[object]
) -> None:
    options = dict(zip(check[3::2], check[4::2], strict=False))
    required = options.get("require_param")
    if required and not request_of(str(required)):
        raise ApiError(403, "Permission check failed")
    path = re.sub(r"\{(\w+)\}", lambda match: request_of(match[1]), str(check[1]))
    privileges = check[2]
    assert isinstance(privileges, list)
    allowed = cluster.access.allowed(identity, path)
    if options.get("any"):
        if not allowed.intersection(privileges):
            raise missing_privilege(path, privileges)
        return
    for privilege in privileges:
        if privilege not in allowed:
            raise missing_privilege(path, [privilege])


def _allow_one(
    request_of: Callable[[str], str], cluster: Cluster, identity: Identity, checks: list[object]
) -> None:
    last: ApiError | None = None
    for check in checks:
        try:
            allow(request_of, cluster, identity, check)
        except ApiError as error:
            last = error
        else:
            return
    assert last is not None
    raise last
