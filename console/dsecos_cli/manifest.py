"""The objects that `dsecos deploy` applies. Pure: a wish in, objects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsecos_api import API_VERSION, Stack
from dsecos_api.names import LABEL_MANAGED_BY
from pydantic import ValidationError

from dsecos_cli.catalog import Entry
from dsecos_cli.cluster import FIELD_MANAGER
from dsecos_cli.errors import UsageError
from dsecos_cli.options import SecretRef
from dsecos_cli.resources import Object


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; what it leaves out comes from the catalog entry."""

    name: str
    namespace: str
    zone: str
    values: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    expose: Sequence[Mapping[str, Any]] | None = None
    sources: Sequence[str] = ()
    """Networks that may connect to the ports that the entry proposes, where `expose` is None."""
    volumes: Sequence[Mapping[str, Any]] = ()


def build_stack(entry: Entry, wish: Wish) -> Object:
    """The Stack, checked against its model. Raises UsageError."""
    template: Object = {"name": entry.name}
    if wish.values:
        template["values"] = dict(wish.values)
    if wish.secrets:
        template["secretValues"] = [
            {"name": name, "secretKeyRef": {"name": ref.secret, "key": ref.key}}
            for name, ref in wish.secrets.items()
        ]
    spec: Object = {"template": template, "zone": wish.zone}
    if expose := _expose(entry, wish):
        spec["expose"] = expose
    spec["resources"] = _resources(entry, wish)
    if volumes := _volumes(entry, wish):
        spec["volumes"] = volumes
    stack = {
        "apiVersion": API_VERSION,
        "kind": "Stack",
        "metadata": {"name": wish.name, "namespace": wish.namespace},
        "spec": spec,
    }
    try:
        Stack.parse(stack)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"the stack would not be valid: {where}: {first['msg']}") from error
    return stack


def zone(name: str, namespace: str, cidr: str) -> Object:
    """A NetworkZone whose guests reach nothing outside, which is what an unset egress means."""
    return {
        "apiVersion": API_VERSION,
        "kind": "NetworkZone",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"cidrs": [cidr]},
    }


def secret_name(stack: str) -> str:
    """The Secret that holds the passwords that `deploy` made for a Stack."""
    return f"{stack[:55].rstrip('-')}-secrets"


def password_secret(stack: str, namespace: str, passwords: Mapping[str, str]) -> Object:
    """A Secret with generated passwords.

    It has no owner: retained data needs the same password in a later life.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(stack),
            "namespace": namespace,
            "labels": {LABEL_MANAGED_BY: FIELD_MANAGER},
        },
        "type": "Opaque",
        "stringData": dict(passwords),
    }


def _expose(entry: Entry, wish: Wish) -> list[Mapping[str, Any]]:
    if wish.expose is not None:
        return list(wish.expose)
    return [{**port, "from": list(wish.sources)} for port in entry.expose] if wish.sources else []


def _resources(entry: Entry, wish: Wish) -> Object:
    found = {**entry.resources, **wish.resources}
    missing = [name for name in ("cpu", "memory", "disk") if name not in found]
    if missing:
        raise UsageError(
            f"template {entry.name} proposes no {missing[0]}",
            f"Say it: --{missing[0]}, for example --memory 2Gi.",
        )
    return {name: found[name] for name in ("cpu", "memory", "disk")}


def _volumes(entry: Entry, wish: Wish) -> list[Mapping[str, Any]]:
    merged: dict[str, Mapping[str, Any]] = {str(volume["name"]): volume for volume in entry.volumes}
    for volume in wish.volumes:
        merged[volume["name"]] = {**merged.get(volume["name"], {}), **volume}
    return list(merged.values())
