"""Option values that stand for more than one thing: read and checked here, before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import yaml
from dsecos_api import quantity
from dsecos_api.types import DeletionPolicy, Protocol

from dsecos_cli.errors import UsageError

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_EXPOSE = re.compile(r"^(?:(?P<host>\d{1,5}):)?(?P<port>\d{1,5})(?:/(?P<protocol>tcp|udp))?$", re.IGNORECASE)
_DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?$")


@dataclass(frozen=True)
class SecretRef:
    """A key of a Secret."""

    secret: str
    key: str


def parse_values(pairs: Sequence[str], files: Sequence[str], read: Callable[[str], str]) -> dict[str, Any]:
    """`--set a.b=1` and `--set-file a=FILE` as nested values.

    Values of `--set` are YAML scalars or flow collections: 3 is a number, true a boolean, [1, 2] a list;
    quote to get text. Those of `--set-file` are the file's text as it is, read by `read`. Raises UsageError.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        path, text = _split(pair, "--set", "key=value")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise UsageError(
                f"--set {path}: {text!r} is not YAML", "Quote it: --set 'key=\"text\"'."
            ) from error
        _put(values, path, value)
    for pair in files:
        path, name = _split(pair, "--set-file", "key=file")
        _put(values, path, read(name))
    return values


def parse_secret(text: str) -> tuple[str, SecretRef]:
    """`name=secret/key`: the document's ${name} comes from that key. Raises UsageError."""
    name, reference = _split(text, "--secret", "name=secret/key")
    secret, slash, key = reference.partition("/")
    if not (_NAME.match(name) and _LABEL.match(secret) and slash and re.fullmatch(r"[-._a-zA-Z0-9]+", key)):
        raise UsageError(
            f"--secret {text!r} is not name=secret/key",
            "For example: --secret postgresPassword=shop-db/password",
        )
    return name, SecretRef(secret, key)


def parse_name(text: str, option: str) -> str:
    """A name of an object: an RFC 1123 label. Raises UsageError."""
    if not _LABEL.match(text):
        raise UsageError(
            f"{option} {text!r} is not a name",
            "Names have lower-case letters, digits and dashes, at most 63, and begin and end with no dash.",
        )
    return text


def parse_expose(text: str, sources: Sequence[str]) -> dict[str, Any]:
    """`[host:]port[/protocol]` as an entry of spec.expose; `sources` are the networks that may connect.

    Raises UsageError.
    """
    match = _EXPOSE.match(text)
    if match is None:
        raise UsageError(
            f"--expose {text!r} is not [hostPort:]port[/tcp|udp]", "For example: --expose 8080:3000"
        )
    entry: dict[str, Any] = {
        "port": _port(match["port"]),
        "protocol": Protocol((match["protocol"] or "tcp").upper()).value,
    }
    if sources:
        entry["from"] = [parse_network(source, "--from") for source in sources]
    if match["host"]:
        entry["hostPort"] = _port(match["host"])
    return entry


def parse_network(text: str, option: str) -> str:
    """A network in CIDR form. Raises UsageError."""
    try:
        network = ip_network(text)
    except ValueError as error:
        raise UsageError(
            f"{option} {text!r} is not a network: {error}", "For example: 10.0.0.0/24 or 0.0.0.0/0"
        ) from error
    return str(network)


def parse_volume(text: str) -> dict[str, Any]:
    """`name=size[,pool=P][,keep=Delete|Retain|Orphan]` as an entry of spec.volumes. Raises UsageError."""
    head, *settings = text.split(",")
    name, size = _split(head, "--volume", "name=size[,pool=POOL][,keep=POLICY]")
    parse_name(name, "--volume")
    entry: dict[str, Any] = {"name": name, "size": parse_quantity(size, "--volume")}
    for setting in settings:
        key, value = _split(setting, "--volume", "pool=POOL or keep=POLICY")
        if key == "pool":
            entry["pool"] = value
        elif key == "keep" and value in list(DeletionPolicy):
            entry["deletionPolicy"] = value
        else:
            raise UsageError(
                f"--volume: {setting!r} is not known", "Settings: pool=POOL, keep=Delete|Retain|Orphan."
            )
    return entry


def parse_quantity(text: str, option: str) -> str:
    """A Kubernetes quantity such as 500m or 2Gi. Raises UsageError."""
    try:
        quantity.parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
    return text


def parse_environment(pairs: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` as variables of an environment. Raises UsageError."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, value = _split(pair, "--env", "NAME=VALUE")
        if not _NAME.match(name):
            raise UsageError(f"--env {name!r} is not a name of a variable", "For example: --env LANG=C.UTF-8")
        found[name] = value
    return found


def parse_duration(text: str, option: str) -> float:
    """Seconds of `90`, `90s`, `5m` or `1h30m`. Raises UsageError."""
    match = _DURATION.match(text)
    if match is None or not any(match.groups()):
        raise UsageError(f"{option} {text!r} is not a duration", "For example: 90s, 5m or 1h30m")
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def _split(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"{option} {text!r} is not {form}")
    return name, value


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place = values
    for parent in parents:
        child = place.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"{path}: {parent} is a single value already, nothing can be set below it")
        place = child
    place[last] = value


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise UsageError(f"{number} is not a port", "Ports lie between 1 and 65535.")
    return number
