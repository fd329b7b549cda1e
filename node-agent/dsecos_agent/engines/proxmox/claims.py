"""Which VMID a new guest gets. Proxmox reserves none (`nextid` only looks): ours are claimed in the journal.

Two agents of one cluster may meet on an id: Proxmox refuses the second, who then takes the next one.
"""

import hashlib
from collections.abc import Collection
from dataclasses import replace

from dsecos_agent.engines.errors import IdsExhaustedError
from dsecos_agent.engines.model import GuestConfig
from dsecos_agent.engines.proxmox.journal import Claim, Journal
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings


def choose(vmids: range, spread: str, taken: Collection[int]) -> int:
    """The first id that is not taken, from a place that `spread` (a node's name) gives. Pure.

    Raises IdsExhaustedError.
    """
    if len(vmids) > 0:
        seed = hashlib.sha256(spread.encode()).digest()
        start = int.from_bytes(seed[:8]) % len(vmids)
        for step in range(len(vmids)):
            vmid = vmids[(start + step) % len(vmids)]
            if vmid not in taken:
                return vmid
    raise IdsExhaustedError(
        f"every VMID from {vmids.start} to {vmids.stop - 1} is taken: "
        "give the node a larger range, or remove guests"
    )


class Claims:
    """Claims of this agent."""

    def __init__(self, journal: Journal, settings: ProxmoxSettings) -> None:
        """Nothing is claimed yet."""
        self._journal = journal
        self._settings = settings
        self._refused: set[int] = set()

    def of(self, guest: str) -> Claim | None:
        """What the guest has claimed."""
        return self._journal.read(guest).claim

    def claim(self, config: GuestConfig, listed: Collection[int]) -> Claim:
        """Claim an id that neither the listing nor another claim has. Raises IdsExhaustedError."""
        settings = self._settings
        taken = {*listed, *self._journal.claims(), *self._refused}
        vmid = choose(settings.vmids, settings.node, taken)
        claim = Claim(vmid, config.owner_uid, config.kind, settings.node)
        self._journal.write(config.name, self._journal.read(config.name).claimed(claim))
        return claim

    def adopt(self, config: GuestConfig, vmid: int, node: str) -> None:
        """Note which guest it is, so that a copy of it with all its marks is not taken for it."""
        claim = Claim(vmid, config.owner_uid, config.kind, node, adopted=True)
        entry = self._journal.read(config.name)
        if entry.claim is None or replace(entry.claim, node=node) != claim:
            self._journal.write(config.name, entry.claimed(claim))

    def holds(self, claim: Claim, listed: Collection[int]) -> bool:
        """Whether the id that was claimed is still to be had."""
        free = claim.vmid in self._settings.vmids and claim.vmid not in {*listed, *self._refused}
        return free and not claim.adopted

    def refuse(self, vmid: int) -> None:
        """Somebody else has this id, also if no listing shows him to us."""
        self._refused.add(vmid)

    def release(self, guest: str) -> None:
        """The guest is gone, and with it all that was noted."""
        self._journal.forget(guest)
