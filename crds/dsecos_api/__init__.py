"""The kinds of dsecos.io/v1alpha1, their conditions, and the generator of their YAML."""

from dsecos_api.backup import Backup
from dsecos_api.base import API_VERSION, GROUP, VERSION, KindInfo, KubeObject, Metadata
from dsecos_api.conditions import Condition, ConditionStatus, Reason, Type
from dsecos_api.guest import Guest
from dsecos_api.hostpolicy import HostPolicy
from dsecos_api.license import License
from dsecos_api.networkzone import NetworkZone
from dsecos_api.node import Node
from dsecos_api.stack import Stack
from dsecos_api.zoneattachment import ZoneAttachment

KINDS: tuple[type[KubeObject], ...] = (
    Stack,
    NetworkZone,
    Node,
    License,
    Backup,
    Guest,
    ZoneAttachment,
    HostPolicy,
)

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "VERSION",
    "Backup",
    "Condition",
    "ConditionStatus",
    "Guest",
    "HostPolicy",
    "KindInfo",
    "KubeObject",
    "License",
    "Metadata",
    "NetworkZone",
    "Node",
    "Reason",
    "Stack",
    "Type",
    "ZoneAttachment",
]
