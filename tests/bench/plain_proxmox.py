"""What an administrator writes in an afternoon: make containers on Proxmox VE and start them, with no checks.

    plain_proxmox.make(api, "pve1", range(30000, 30020), template, "local-lvm", every=0.5)

No owner, no claim of an id, no look at what a task ended with, nothing that outlives a lost answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

WORKERS = 8


def make(api: Any, node: str, vmids: Iterable[int], template: str, storage: str, *, every: float) -> None:
    """Create and start them, eight at a time; `every`: seconds between two looks at a task."""

    def one(vmid: int) -> None:
        created = api.nodes(node).lxc.post(
            vmid=vmid,
            hostname=f"plain{vmid}",
            ostemplate=template,
            rootfs=f"{storage}:1",
            memory=128,
            swap=0,
            cores=1,
            cpulimit=0.5,
            unprivileged=1,
            features="nesting=1",
            net0="name=eth0,bridge=vmbr0,ip=10.250.1.2/16",
        )
        wait(api, node, created, every)
        wait(api, node, api.nodes(node).lxc(vmid).status.start.post(), every)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(one, vmids))


def wait(api: Any, node: str, upid: str, every: float) -> None:
    """Look at the task until it has stopped."""
    while api.nodes(node).tasks(upid).status.get()["status"] != "stopped":
        time.sleep(every)
