"""The methods of the API, a module for each part of it."""

from __future__ import annotations

from dsecos_proxmox_simulator.api import (
    access,
    backups,
    cluster,
    containers,
    copies,
    ha,
    inside,
    machines,
    moves,
    nodes,
    pools,
    power,
    reading,
    sdn,
    sdn_apply,
    snapshots,
    storage,
    tasks,
)

MODULES = (
    access,
    backups,
    cluster,
    containers,
    copies,
    ha,
    inside,
    machines,
    moves,
    nodes,
    pools,
    power,
    reading,
    sdn,
    sdn_apply,
    snapshots,
    storage,
    tasks,
)
ENDPOINTS = [endpoint for module in MODULES for endpoint in module.routes.endpoints]
