"""A test double of the Proxmox VE API, served over HTTPS, with faults."""

from dsecos_proxmox_simulator.faults import (
    ConnectionDroppedError,
    DroppedConnection,
    ExpiredTicket,
    FailedTask,
    Fault,
    Faults,
    GatewayError,
    HeldLock,
    IdTaken,
    LockTimeout,
    LostAnswer,
    NodeGone,
    NoWorker,
    SlowTask,
    TaskUnknown,
    WarnedTask,
)
from dsecos_proxmox_simulator.model import Guest, HaResource, Node
from dsecos_proxmox_simulator.simulator import ManualClock, SchemaViolationError, Simulator
from dsecos_proxmox_simulator.storages import Storage, Volume
from dsecos_proxmox_simulator.world import World

__all__ = [
    "ConnectionDroppedError",
    "DroppedConnection",
    "ExpiredTicket",
    "FailedTask",
    "Fault",
    "Faults",
    "GatewayError",
    "Guest",
    "HaResource",
    "HeldLock",
    "IdTaken",
    "LockTimeout",
    "LostAnswer",
    "ManualClock",
    "NoWorker",
    "Node",
    "NodeGone",
    "SchemaViolationError",
    "Simulator",
    "SlowTask",
    "Storage",
    "TaskUnknown",
    "Volume",
    "WarnedTask",
    "World",
]
