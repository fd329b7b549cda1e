"""Users, tokens, tickets, roles and access control lists, evaluated as PVE::AccessControl does."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dsecos_proxmox_simulator.errors import ApiError, unauthorized
from dsecos_proxmox_simulator.privileges import BUILT_IN_ROLES, privileges_of
from dsecos_proxmox_simulator.world import World

TICKET_SECONDS = 7200
ROOT = "root@pam"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: a user by ticket, or one of the user's tokens."""

    user: str
    token: str = ""

    @property
    def auth_id(self) -> str:
        """`user@realm` or `user@realm!token`, as in task ids."""
        return f"{self.user}!{self.token}" if self.token else self.user

    @property
    def is_root(self) -> bool:
        """root@pam with a ticket; no token is that."""
        return self.auth_id == ROOT


@dataclass(slots=True)
class Token:
    """An API token. With `privsep` it has what both its user and itself were granted."""

    value: str
    privsep: bool = True
    comment: str = ""
    expire: int = 0


@dataclass(slots=True)
class User:
    """A user; `password` empty means that tokens are the only way in."""

    password: str = ""
    tokens: dict[str, Token] = field(default_factory=dict)
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of the access control list."""

    path: str
    ugid: str
    role: str
    propagate: bool = True


class Access:
    """Who may do what. Changed by the API and by tests."""

    def __init__(self, world: World, clock: Callable[[], float], version: str) -> None:
        self._world = world
        self._clock = clock
        self.privileges = privileges_of(version)
        self.users: dict[str, User] = {ROOT: User(world.root_password)}
        self.roles: dict[str, frozenset[str]] = {
            name: (self.privileges if granted is None else granted & self.privileges)
            for name, granted in BUILT_IN_ROLES.items()
        }
        self.grants: list[Grant] = []
        self.tickets: dict[str, tuple[str, float]] = {}

    def add_token(
        self,
        user: str,
        token: str,
        privileges: Mapping[str, Iterable[str]],
        *,
        privsep: bool = True,
    ) -> str:
        """Make user and token, grant both the privileges by path, and return the token's secret."""
        account = self.users.setdefault(user, User())
        account.tokens[token] = Token(str(uuid.uuid4()), privsep)
        for number, (path, granted) in enumerate(privileges.items()):
            self.grant(user, path, granted, role=f"{user.split('@', maxsplit=1)[0]}-{token}-{number}")
            self.grant(
                f"{user}!{token}", path, granted, role=f"{user.split('@', maxsplit=1)[0]}-{token}-{number}"
            )
        return account.tokens[token].value

    def grant(self, ugid: str, path: str, privileges: Iterable[str], *, role: str) -> None:
        """A role of these privileges for a user or token on a path and below."""
        self.roles[role] = frozenset(privileges)
        self.grants.append(Grant(path, ugid, role))

    def revoke(self, ugid: str, path: str) -> None:
        """Remove what the user or token was granted on exactly this path."""
        self.grants = [g for g in self.grants if not (g.ugid == ugid and g.path == path)]

    # Authentication.

    def login(self, user: str, password: str) -> tuple[str, str]:
        """Ticket and CSRF token. An unexpired ticket serves as password. Raises ApiError 401."""
        account = self.users.get(user)
        by_ticket = password in self.tickets and self._user_of(password) == user
        if not by_ticket and (account is None or not account.password or account.password != password):
            raise ApiError(401, "authentication failure")
        ticket = f"PVE:{user}:{int(self._clock()):08X}::{secrets.token_urlsafe(24)}"
        self.tickets[ticket] = (user, self._clock())
        return ticket, self.csrf_token(ticket)

    @staticmethod
    def csrf_token(ticket: str) -> str:
        """Belongs to one ticket; every change by ticket must carry it."""
        return f"{ticket.split(':')[2]}:{ticket[-16:]}"

    def by_ticket(self, ticket: str, csrf: str | None, *, changes: bool) -> Identity:
        """Raises ApiError 401 for unknown and expired tickets and for a missing CSRF token."""
        user = self._user_of(ticket)
        if changes and csrf != self.csrf_token(ticket):
            raise unauthorized("Permission denied - invalid csrf token")
        return Identity(user)

    def _user_of(self, ticket: str) -> str:
        user, issued = self.tickets.get(ticket, ("", 0.0))
        if not user or self._clock() - issued > TICKET_SECONDS:
            raise unauthorized("permission denied - invalid PVE ticket")
        return user

    def by_token(self, header: str) -> Identity:
        """Identity from `PVEAPIToken=user@realm!token=secret`. Raises ApiError 401."""
        full, _, value = header.removeprefix("PVEAPIToken=").partition("=")
        user, _, name = full.partition("!")
        account = self.users.get(user)
        token = account.tokens.get(name) if account else None
        if token is None or not secrets.compare_digest(token.value, value):
            raise unauthorized("Authentication failed!")
        if token.expire and token.expire < self._clock():
            raise unauthorized("Authentication failed!")
        return Identity(user, name)

    # Authorization.

    def allowed(self, identity: Identity, path: str) -> frozenset[str]:
        """The privileges on a path; of a separated token the intersection with its user's."""
        of_user = self.privileges if identity.user == ROOT else self._granted(identity.user, path)
        if not identity.token or not self.users[identity.user].tokens[identity.token].privsep:
            return of_user
        return of_user & self._granted(identity.auth_id, path)

    def _granted(self, ugid: str, path: str) -> frozenset[str]:
        granted = self._roles_at(ugid, path)
        kind, _, name = path.strip("/").partition("/")
        if kind == "vms" and name.isdigit():
            pools = [self._world.pool_of(int(name))]
        elif kind == "storage":
            pools = [pool.name for pool in self._world.pools.values() if name in pool.storages]
        else:
            pools = []
        for pool in filter(None, pools):
            granted |= self._roles_at(ugid, f"/pool/{pool}")
        return granted

    def _roles_at(self, ugid: str, path: str) -> frozenset[str]:
        """Grants nearer to the path replace those above it."""
        steps = [part for part in path.split("/") if part]
        found: frozenset[str] = frozenset()
        for depth in range(len(steps) + 1):
            prefix = "/" + "/".join(steps[:depth])
            here = [
                g.role
                for g in self.grants
                if g.ugid == ugid and g.path == prefix and (g.propagate or depth == len(steps))
            ]
            if "NoAccess" in here:
                found = frozenset()
            elif here:
                found = frozenset().union(*(self.roles.get(role, frozenset()) for role in here))
        return found
