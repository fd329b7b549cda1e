"""The configuration files of the services, as documents. Pure but for `write_all`."""

import secrets
from typing import Any

import bcrypt
import yaml

from dsecos_control_plane.files import folder, write
from dsecos_control_plane.identity import identity
from dsecos_control_plane.settings import Settings

Document = dict[str, Any]

REGISTRY_USER = "dsecos"


def authentication() -> Document:
    """Return the AuthenticationConfiguration: who shows no credential may ask for health, and for nothing
    else.
    """
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}, {"path": "/readyz"}]},
    }


def audit_policy() -> Document:
    """Return the audit policy: who did what to which object and when, never what the object says.

    Bodies are left out for every kind: values of a Stack may hold secrets as well as a Secret does.
    Heartbeats and events, which are the bulk of all writes, are not logged.
    """
    quiet = [
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {
            "level": "None",
            "resources": [{"group": group, "resources": ["events"]} for group in ("", "events.k8s.io")],
        },
        {"level": "None", "nonResourceURLs": ["/livez*", "/readyz*", "/healthz*", "/version", "/openapi*"]},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [*quiet, {"level": "Metadata"}],
    }


def registry(settings: Settings, *, read_only: bool) -> Document:
    """Return the configuration of one side of the registry (distribution 2.8); they share one storage."""
    name = "registry-read" if read_only else "registry"
    port = settings.registry_read_port if read_only else settings.registry_port
    storage: Document = {
        "filesystem": {"rootdirectory": str(settings.home / "registry")},
        "cache": {"blobdescriptor": "inmemory"},
    }
    document: Document = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}, "fields": {"service": name}},
        "storage": storage,
        "http": {
            "addr": f"{'0.0.0.0' if read_only else '127.0.0.1'}:{port}",  # noqa: S104 -- registry_firewall()
            "tls": {
                "certificate": str(settings.pki / f"{name}.crt"),
                "key": str(settings.pki / f"{name}.key"),
                "minimumtls": "tls1.2",
            },
        },
    }
    if read_only:
        storage["maintenance"] = {"uploadpurging": {"enabled": False}, "readonly": {"enabled": True}}
    else:
        storage["delete"] = {"enabled": True}
        path = str(settings.etc / "registry.htpasswd")
        document["auth"] = {"htpasswd": {"realm": "dsecos", "path": path}}
        document["http"]["secret"] = (settings.etc / "registry.secret").read_text()
    return document


def firewall_table(settings: Settings) -> str:
    """Return the name of the nftables table, family inet, that guards the registry's read-only side."""
    return f"{settings.instance}_registry"


def registry_firewall(settings: Settings) -> str:
    """Return the nftables ruleset that keeps the read-only registry to the zones' bridges and this host.

    Loading it again replaces it in one transaction.
    """
    table = f"table inet {firewall_table(settings)}"
    return f"""{table} {{ }}
delete {table}
{table} {{
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    tcp dport {settings.registry_read_port} iifname != "lo" iifname != "{settings.link_prefix}z*" counter drop
  }}
}}
"""


def write_all(settings: Settings) -> None:
    """Write the configuration of every service, and make the registry's password where there is none."""
    folder(settings.etc)
    write(settings.etc / "authentication.yaml", yaml.safe_dump(authentication()))
    write(settings.etc / "audit-policy.yaml", yaml.safe_dump(audit_policy(), sort_keys=False))
    _registry_credentials(settings)
    for read_only, name in ((False, "registry"), (True, "registry-read")):
        owner = identity(settings, name)
        document = yaml.safe_dump(registry(settings, read_only=read_only), sort_keys=False)
        write(settings.etc / f"{name}.yaml", document, mode=0o600, owner=owner)
    write(settings.etc / "registry-read.nft", registry_firewall(settings))


def _registry_credentials(settings: Settings) -> None:
    """Make the password of the write side: hashed for the registry, plain for root, who pushes."""
    secret = settings.etc / "registry.secret"
    if not secret.exists():
        write(secret, secrets.token_hex(32), mode=0o600)
    hashed = settings.etc / "registry.htpasswd"
    if settings.registry_password.exists() and hashed.exists():
        return
    password = secrets.token_urlsafe(32)
    line = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=10)).decode()
    write(hashed, f"{REGISTRY_USER}:{line}\n", mode=0o600, owner=identity(settings, "registry"))
    write(settings.registry_password, password, mode=0o600)
