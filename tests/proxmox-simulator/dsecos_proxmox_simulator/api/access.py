"""/version and /access: tickets, permissions, users' tokens, access control lists, roles."""

from __future__ import annotations

import re

from dsecos_proxmox_simulator.access import Grant, Token
from dsecos_proxmox_simulator.errors import failure
from dsecos_proxmox_simulator.privileges import BUILT_IN_ROLES, WORLD, Check, needs
from dsecos_proxmox_simulator.routing import Request, Routes

routes = Routes()
TOKEN = "/access/users/{userid}/token/{tokenid}"  # a path
OWN_OR_MANAGER: Check = ["or", ["userid-param", "self"], ["userid-group", ["User.Modify"]]]
TOKEN_OPTIONS = "comment string\nexpire integer 0..\nprivsep boolean"  # a table


@routes.add("GET", "/version")
def version(request: Request) -> object:
    """Version, release and build."""
    full, build = request.cluster.release
    return {"version": full, "release": request.cluster.version, "repoid": build}


@routes.add(
    "POST",
    "/access/ticket",
    """
    username!  string len:..64
    password!  string
    new-format boolean
    otp        string
    realm      string len:..32 format:pve-realm
    """,
    check=WORLD,
)
def ticket(request: Request) -> object:
    """A ticket for two hours, and the token that changes must carry."""
    user = request.text("username")
    if "@" not in user:
        user += f"@{request.text('realm', 'pam')}"
    given, csrf = request.cluster.access.login(user, request.text("password"))
    return {
        "ticket": given,
        "CSRFPreventionToken": csrf,
        "username": user,
        "cap": {},
        "clustername": "simulator",
    }


@routes.add(
    "GET",
    "/access/permissions",
    "path string\nuserid string /[^\\s:\\/]+@[A-Za-z][A-Za-z0-9.\\-_]+(![A-Za-z][A-Za-z0-9.\\-_]+)?/",
)
def permissions(request: Request) -> object:
    """Privileges by path, own ones or with Sys.Audit those of somebody else."""
    access, auth_id = request.cluster.access, request.text("userid", request.identity.auth_id)
    if auth_id not in (request.identity.auth_id,) and not auth_id.startswith(f"{request.identity.user}!"):
        request.require("/access", "Sys.Audit")
    user, _, token = auth_id.partition("!")
    if user not in access.users or (token and token not in access.users[user].tokens):
        raise failure(f"no such user ('{auth_id}')")
    who = type(request.identity)(user, token)
    if request.has("path"):
        path = request.text("path")
        return {path: dict.fromkeys(sorted(access.allowed(who, path)), 1)}
    paths = {"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms"}
    paths |= {grant.path for grant in access.grants}
    return {p: dict.fromkeys(sorted(found), 1) for p in sorted(paths) if (found := access.allowed(who, p))}


@routes.add("GET", "/access/users/{userid}/token", check=OWN_OR_MANAGER)
def list_tokens(request: Request) -> object:
    """Tokens without their secrets."""
    user = request.cluster.access.users.get(request.text("userid"))
    if user is None:
        raise failure(f"no such user ('{request.text('userid')}')")
    return [{"tokenid": name} | _info(token) for name, token in user.tokens.items()]


def _info(token: Token) -> dict[str, object]:
    info: dict[str, object] = {"privsep": str(int(token.privsep)), "expire": token.expire}
    return info | ({"comment": token.comment} if token.comment else {})


@routes.add("GET", TOKEN, check=OWN_OR_MANAGER)
def read_token(request: Request) -> object:
    """One token without its secret."""
    return _info(_token(request))


def _token(request: Request) -> Token:
    user, name = request.text("userid"), request.text("tokenid")
    account = request.cluster.access.users.get(user)
    if account is None:
        raise failure(f"no such user ('{user}')")
    if name not in account.tokens:
        raise failure(f"no such token '{name}' for user '{user}'")
    return account.tokens[name]


@routes.add("POST", TOKEN, TOKEN_OPTIONS, check=OWN_OR_MANAGER)
def make_token(request: Request) -> object:
    """The only answer that shows the secret."""
    access, user, name = request.cluster.access, request.text("userid"), request.text("tokenid")
    if user not in access.users:
        raise failure(f"no such user ('{user}')")
    if name in access.users[user].tokens:
        raise failure(f"Token already exists: {user}!{name}")
    value = access.add_token(user, name, {}, privsep=request.flag("privsep", default=True))
    token = access.users[user].tokens[name]
    token.comment, token.expire = request.text("comment"), request.number("expire")
    info = {"privsep": str(int(token.privsep))}
    return {"full-tokenid": f"{user}!{name}", "info": info, "value": value}


@routes.add("DELETE", TOKEN, check=OWN_OR_MANAGER)
def delete_token(request: Request) -> object:
    """Token and what it was granted."""
    _token(request)
    access, user, name = request.cluster.access, request.text("userid"), request.text("tokenid")
    del access.users[user].tokens[name]
    access.grants = [grant for grant in access.grants if grant.ugid != f"{user}!{name}"]
    return None


@routes.add("GET", "/access/acl")
def acl(request: Request) -> object:
    """All grants, for those who may see them."""
    if not request.may("/access", "Sys.Audit"):
        return []
    return [
        {
            "path": grant.path,
            "ugid": grant.ugid,
            "type": "token" if "!" in grant.ugid else "user",
            "roleid": grant.role,
            "propagate": int(grant.propagate),
        }
        for grant in request.cluster.access.grants
    ]


@routes.add(
    "PUT",
    "/access/acl",
    """
    path!     string
    roles!    string format:pve-roleid-list
    delete    boolean
    propagate boolean
    tokens    string format:pve-tokenid-list
    users     string format:pve-userid-list
    """,
    check=["perm-modify", "{path}"],
)
def change_acl(request: Request) -> object:
    """Grant or revoke roles on a path."""
    access = request.cluster.access
    names = _list(request.text("users")) + _list(request.text("tokens"))
    for role in _list(request.text("roles")):
        if role not in access.roles:
            raise failure(f"role '{role}' does not exist")
        for name in names:
            grant = Grant(request.text("path"), name, role, request.flag("propagate", default=True))
            access.grants = [g for g in access.grants if (g.path, g.ugid, g.role) != (grant.path, name, role)]
            if not request.flag("delete"):
                access.grants.append(grant)
    return None


def _list(text: str) -> list[str]:
    return [part for part in re.split(r"[,;\s]+", text) if part]


@routes.add("GET", "/access/roles")
def roles(request: Request) -> object:
    """Roles and their privileges."""
    return [
        {"roleid": name, "privs": ",".join(sorted(granted)), "special": int(name in BUILT_IN_ROLES)}
        for name, granted in sorted(request.cluster.access.roles.items())
    ]


@routes.add("GET", "/access/roles/{roleid}")
def role(request: Request) -> object:
    """The privileges of one role."""
    granted = request.cluster.access.roles.get(request.text("roleid"))
    if granted is None:
        raise failure(f"role '{request.text('roleid')}' does not exist")
    return dict.fromkeys(sorted(granted), 1)


@routes.add(
    "POST",
    "/access/roles",
    "roleid! string format:pve-roleid\nprivs string format:pve-priv-list",
    check=needs("/access", "Sys.Modify"),
)
def make_role(request: Request) -> object:
    """A role of known privileges."""
    access, name = request.cluster.access, request.text("roleid")
    if name in access.roles:
        raise failure(f"role '{name}' already exists")
    wanted = _list(request.text("privs"))
    for privilege in wanted:
        if privilege not in access.privileges:
            raise failure(f"invalid privilege '{privilege}'")
    access.roles[name] = frozenset(wanted)
    return None
