"""The privileges of each version, the built-in roles, and the checks that methods declare."""

from __future__ import annotations

_COMMON = """
Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit Group.Allocate
Mapping.Audit Mapping.Modify Mapping.Use Permissions.Modify Pool.Allocate Pool.Audit Realm.Allocate
Realm.AllocateUser SDN.Allocate SDN.Audit SDN.Use Sys.AccessNetwork Sys.Audit Sys.Console Sys.Incoming
Sys.Modify Sys.PowerMgmt Sys.Syslog User.Modify VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM
VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory VM.Config.Network
VM.Config.Options VM.Console VM.Migrate VM.PowerMgmt VM.Snapshot VM.Snapshot.Rollback
"""
_ONLY = {
    "8.4": "VM.Monitor",
    "9.1": "VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite "
    "VM.GuestAgent.Unrestricted VM.Replicate",
}


def privileges_of(version: str) -> frozenset[str]:
    """All privileges that this version knows."""
    return frozenset(_COMMON.split()) | frozenset(_ONLY[version].split())


_VM_USER = frozenset(
    {"VM.Audit", "VM.Backup", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Console", "VM.PowerMgmt"}
)

BUILT_IN_ROLES: dict[str, frozenset[str] | None] = {
    "Administrator": None,
    "NoAccess": frozenset(),
    "PVEAuditor": frozenset(
        {
            "Datastore.Audit",
            "Mapping.Audit",
            "Pool.Audit",
            "SDN.Audit",
            "Sys.Audit",
            "VM.Audit",
            "VM.GuestAgent.Audit",
        }
    ),
    "PVEDatastoreAdmin": frozenset(p for p in _COMMON.split() if p.startswith("Datastore.")),
    "PVEDatastoreUser": frozenset({"Datastore.AllocateSpace", "Datastore.Audit"}),
    "PVEPoolUser": frozenset({"Pool.Audit"}),
    "PVESDNUser": frozenset({"SDN.Audit", "SDN.Use"}),
    "PVEVMAdmin": frozenset(p for p in " ".join((_COMMON, *_ONLY.values())).split() if p.startswith("VM."))
    - {"VM.Replicate"},
    "PVEVMUser": _VM_USER,
}
"""Roles that every installation has; None stands for all privileges."""

Check = list[object]
"""A check as the schema of the API writes it: `["perm", "/vms/{vmid}", ["VM.Audit"]]`, nested in "and" and
"or"."""

ANYBODY: dict[str, str] = {"user": "all"}
WORLD: dict[str, str] = {"user": "world"}


def needs(path: str, *privileges: str) -> Check:
    """All of these privileges on the path."""
    return ["perm", path, list(privileges)]


def needs_any(path: str, *privileges: str) -> Check:
    """One of these privileges on the path."""
    return ["perm", path, list(privileges), "any", 1]
