"""The methods of the API, a module for each part of it."""

from __future__ import annotations

from dsecos_proxmox_simulator.api import access, cluster, containers, nodes, power, reading, snapshots, tasks

ENDPOINTS = [
    endpoint
    for module in (access, cluster, containers, nodes, power, reading, snapshots, tasks)
    for endpoint in module.routes.endpoints
]
