"""What a service of a tenant may ask for. Deny by default: what is not named here is refused.

Judged on the document as Docker Compose normalised it, so every short form is gone and each meaning has one
spelling. A guest is a container of its own with a user namespace, so this is the second wall, not the first;
it keeps a service from owning its guest, the guest's Docker daemon and through it the other services.

Source of the keys: the Compose Specification, `05-services.md` and its JSON schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dsecos_api import Reason

from dsecos_operator.rendering.refused import Refused, shown

NEVER = None
PRIVILEGED = "privilegedGuests"
HOST_MOUNTS = "hostMounts"
DEVICES = "devices"


@dataclass(frozen=True)
class Policy:
    """What the NetworkZone allows; the names are those of its `spec.policy`."""

    privileged_guests: bool = False
    host_mounts: bool = False
    devices: bool = False

    def allows(self, grant: str | None) -> bool:
        """Whether the zone gives this grant."""
        return {
            PRIVILEGED: self.privileged_guests,
            HOST_MOUNTS: self.host_mounts,
            DEVICES: self.devices,
        }.get(grant or "", False)


@dataclass(frozen=True)
class Violation:
    """One thing that is asked for and needs a grant; `grant` None: no policy allows it."""

    path: str
    what: str
    grant: str | None


# fmt: off
FREE = frozenset(
    {
        "attach", "cap_drop", "command", "container_name", "cpu_count", "cpu_percent", "cpu_period",
        "cpu_quota", "cpu_shares", "cpus", "cpuset", "depends_on", "dns", "dns_opt", "dns_search",
        "domainname", "entrypoint", "environment", "expose", "healthcheck", "hostname", "image",
        "init", "links", "mac_address", "mem_limit", "mem_reservation", "mem_swappiness",
        "memswap_limit", "networks", "pids_limit", "platform", "ports", "profiles", "pull_policy",
        "read_only", "restart", "scale", "shm_size", "stdin_open", "stop_grace_period",
        "stop_signal", "tmpfs", "tty", "ulimits", "user", "working_dir",
    }
)
# fmt: on
"""Keys of a service that concern its own container only."""

RESERVED_LABELS = ("com.docker.compose.", "dsecos.io/")
_LOG_DRIVERS = frozenset({"local", "json-file", "none"})
_DEPLOY = frozenset(
    {
        "mode",
        "replicas",
        "resources",
        "restart_policy",
        "labels",
        "update_config",
        "rollback_config",
        "placement",
    }
)

Found = Iterator[tuple[str, str, str | None]]
"""Of one value: (path below the key, what is asked for, grant)."""


def _always(grant: str | None) -> Callable[[Any], Found]:
    def check(value: Any) -> Found:
        if value not in (None, False, "", [], {}):
            yield "", shown(value, 60), grant

    return check


def _unless(allowed: frozenset[str], grant: str | None) -> Callable[[Any], Found]:
    def check(value: Any) -> Found:
        if value and str(value) not in allowed:
            yield "", shown(value, 60), grant

    return check


def _volumes(value: Any) -> Found:
    for index, mount in enumerate(value or ()):
        kind, target = mount.get("type"), mount.get("target")
        if kind == "bind":
            yield (
                f"[{index}]",
                f"the bind mount of {shown(mount.get('source'), 60)} on {shown(target, 60)}",
                HOST_MOUNTS,
            )
        elif kind not in ("volume", "tmpfs"):
            yield f"[{index}]", f"a mount of type {shown(kind, 60)}", NEVER


def _extra_hosts(value: Any) -> Found:
    entries = (
        value if isinstance(value, list) else [f"{name}={address}" for name, address in (value or {}).items()]
    )
    for entry in entries:
        if "host-gateway" in str(entry):
            yield "", shown(entry, 60), PRIVILEGED


def _security_opt(value: Any) -> Found:
    for option in value or ():
        if option not in ("no-new-privileges", "no-new-privileges:true"):
            yield "", shown(option, 60), PRIVILEGED


def _labels(value: Any) -> Found:
    for name in value or {}:
        if str(name).startswith(RESERVED_LABELS):
            yield f".{name}", "a label that is reserved", NEVER


def _logging(value: Any) -> Found:
    driver = (value or {}).get("driver")
    if driver and driver not in _LOG_DRIVERS:
        yield ".driver", f"{shown(driver, 60)} (local, json-file and none are possible)", NEVER


def _deploy(value: Any) -> Found:
    value = value or {}
    for key in sorted(set(value) - _DEPLOY):
        yield f".{key}", "which is not supported", NEVER
    reservations = (value.get("resources") or {}).get("reservations") or {}
    for key in ("devices", "generic_resources"):
        if reservations.get(key):
            yield f".resources.reservations.{key}", shown(reservations[key], 60), DEVICES


def _networks(value: Any) -> Found:
    for name, settings in value.items() if isinstance(value, dict) else ():
        if (settings or {}).get("driver_opts"):
            yield f".{name}.driver_opts", "which is not supported", NEVER


GUARDED: Mapping[str, Callable[[Any], Found]] = {
    "privileged": _always(PRIVILEGED),
    "cap_add": _always(PRIVILEGED),
    "network_mode": _unless(frozenset({"none", "bridge"}), PRIVILEGED),
    "pid": _always(PRIVILEGED),
    "ipc": _unless(frozenset({"private", "none", "shareable"}), PRIVILEGED),
    "uts": _always(PRIVILEGED),
    "userns_mode": _always(PRIVILEGED),
    "cgroup": _unless(frozenset({"private"}), PRIVILEGED),
    "cgroup_parent": _always(PRIVILEGED),
    "security_opt": _security_opt,
    "sysctls": _always(PRIVILEGED),
    "group_add": _always(PRIVILEGED),
    "oom_kill_disable": _always(PRIVILEGED),
    "oom_score_adj": _always(PRIVILEGED),
    "cpu_rt_period": _always(PRIVILEGED),
    "cpu_rt_runtime": _always(PRIVILEGED),
    "devices": _always(DEVICES),
    "device_cgroup_rules": _always(DEVICES),
    "gpus": _always(DEVICES),
    "blkio_config": _always(DEVICES),
    "runtime": _always(NEVER),
    "volumes_from": _always(NEVER),
    "volume_driver": _always(NEVER),
    "storage_opt": _always(NEVER),
    "isolation": _always(NEVER),
    "credential_spec": _always(NEVER),
    "external_links": _always(NEVER),
    "annotations": _always(NEVER),
    "volumes": _volumes,
    "extra_hosts": _extra_hosts,
    "labels": _labels,
    "logging": _logging,
    "deploy": _deploy,
    "networks": _networks,
    "configs": lambda _: iter(()),
    "secrets": lambda _: iter(()),
}
"""Keys of a service that reach beyond its own container, and who judges their value."""


def check(document: Mapping[str, Any], policy: Policy, zone: str) -> None:
    """Raises Refused (ComposeForbidden): each service and field, and what the zone's policy would have to
    say.
    """
    refused = [violation for violation in violations(document) if not policy.allows(violation.grant)]
    if not refused:
        return
    sentences = [f"{violation.path} asks for {violation.what}" for violation in refused[:10]]
    grants = sorted({violation.grant for violation in refused if violation.grant})
    way_out = [
        f"NetworkZone {zone} would have to allow it with spec.policy.{grant}: true" for grant in grants
    ]
    if any(violation.grant is None for violation in refused):
        way_out.append("no policy allows what is not named here" if grants else "no policy allows it")
    raise Refused(Reason.COMPOSE_FORBIDDEN, f"{'; '.join(sentences)}: {'; '.join(way_out)}")


def violations(document: Mapping[str, Any]) -> list[Violation]:
    """Everything in the normalised document that needs a grant, in the document's order."""
    return [Violation(*found) for found in _violations(document)]


def _violations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    for name, service in document.get("services", {}).items():
        for key, value in service.items():
            path = f"services.{name}.{key}"
            if key in GUARDED:
                yield from ((path + below, what, grant) for below, what, grant in GUARDED[key](value))
            elif key not in FREE:
                yield path, "a field that DsecOS does not know", NEVER
    for name, volume in document.get("volumes", {}).items():
        settings = volume or {}
        if settings.get("driver", "local") != "local":
            yield f"volumes.{name}.driver", shown(settings["driver"], 60), NEVER
        if settings.get("driver_opts"):
            yield f"volumes.{name}.driver_opts", shown(settings["driver_opts"], 60), HOST_MOUNTS
    for name, network in document.get("networks", {}).items():
        settings = network or {}
        if settings.get("driver", "bridge") != "bridge":
            yield f"networks.{name}.driver", shown(settings["driver"], 60), PRIVILEGED
        if settings.get("driver_opts"):
            yield f"networks.{name}.driver_opts", shown(settings["driver_opts"], 60), PRIVILEGED
