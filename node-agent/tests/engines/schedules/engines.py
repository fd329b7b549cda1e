"""The Proxmox engine as tests have it: a token with what it needs alone, a tiny template, little patience."""

import asyncio
import hashlib
from collections.abc import Iterable
from pathlib import Path

from dsecos_agent.engines.proxmox.clock import Clock
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.storage.protocol import Archive
from dsecos_api.proxmox import PRIVILEGES, Place, Scope

TOKEN = "dsecos@pve!agent"
HASTE = 20
"""Times faster than a real cluster deserves: the simulator's tasks take milliseconds."""


class Haste(Clock):
    """The host's clock, but for the pauses."""

    async def sleep(self, seconds: float) -> None:
        """Let others work for a fraction of it."""
        await asyncio.sleep(seconds / HASTE)


def grants(nodes: Iterable[str], storage: str = "local-lvm", pool: str | None = None) -> dict[str, set[str]]:
    """What the documentation says that a token needs: path -> privileges."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        scope = Scope(node, storage, "local", pool)
        for privilege in PRIVILEGES:
            if 8 in privilege.majors:
                found.setdefault(scope.path(Place(privilege.place)), set()).add(privilege.name)
    return found


def archive(home: Path, image: str) -> Archive:
    """A template's archive on this host."""
    path = home / f"{image}.tar.zst"
    if not path.exists():
        path.write_bytes(image.encode() * 100)
    return Archive(path, hashlib.sha256(path.read_bytes()).hexdigest())


def make_engine(settings: ProxmoxSettings, home: Path) -> ProxmoxEngine:
    """An engine whose notes are below `home`, which knows one template: `debian`."""
    return ProxmoxEngine(
        settings,
        state=home / "state",
        images=lambda image: archive(home, image) if image == "debian" else None,
        clock=Haste(),
    )
