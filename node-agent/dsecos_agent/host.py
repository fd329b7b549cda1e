"""The adapters of this host, opened with this instance's settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dsecos_api.node import Engine as EngineSpec
from dsecos_api.node import ProxmoxEngine as ProxmoxSpec

from dsecos_agent.compose.protocol import Compose
from dsecos_agent.compose.runner import GuestCompose
from dsecos_agent.engines.lxc import LxcEngine
from dsecos_agent.engines.lxc.disks import GuestPool
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.engines.proxmox.engine import ProxmoxEngine
from dsecos_agent.engines.proxmox.local import PctLocal
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_agent.firewall.model import Firewall
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Links
from dsecos_agent.names.dnsmasq import DnsmasqServers
from dsecos_agent.names.model import NameServers
from dsecos_agent.node.engines import EngineSlot
from dsecos_agent.node.images import read_images
from dsecos_agent.settings import AgentSettings
from dsecos_agent.storage.protocol import Archive

PVE_LOCAL = Path("/etc/pve/local")
PVE_AUTHORITY = Path("/etc/pve/pve-root-ca.pem")
"""Signs the API's certificates of a cluster of Proxmox VE (pveproxy(8))."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the controllers act by; the pools are the inventory's."""

    engines: EngineSlot
    links: Links
    firewall: Firewall
    compose: Compose
    names: NameServers

    @classmethod
    def of(cls, settings: AgentSettings) -> Host:
        """Nothing is touched yet; the engine comes when it is known which."""
        settings.run.mkdir(mode=0o711, parents=True, exist_ok=True)
        slot = EngineSlot()
        return cls(
            engines=slot,
            links=NetlinkLinks(settings.link_prefix, settings.run),
            firewall=NftFirewall(settings.instance, settings.link_prefix, settings.run),
            compose=GuestCompose(slot.as_engine()),
            names=DnsmasqServers(settings.name_servers, settings.instance),
        )

    @property
    def engine(self) -> Engine:
        """The node's engine; each call raises EngineNotConfiguredError while there is none."""
        return self.engines.as_engine()

    async def close(self) -> None:
        """Release descriptors and sockets; guests, links, rules and name servers stay."""
        await self.engines.close()
        await self.links.close()
        await self.firewall.close()
        await self.names.close()


def build_engine(
    settings: AgentSettings,
    spec: EngineSpec,
    token: str,
    *,
    pools: Callable[[], Iterable[GuestPool]] = tuple,
) -> Engine:
    """The engine that a Node asks for; `pools` tells the storage pools that are open. Nothing is touched yet.

    Raises UnsupportedError.
    """
    if spec.proxmox is None:
        ids = IdRange(settings.guest_id_base, settings.guest_id_count)
        return LxcEngine(settings.lxc, settings.run, ids, pools, settings.host_lxc)
    wish = proxmox_settings(spec.proxmox, token)
    local = None
    if is_this_host(wish.node):
        local = PctLocal(wish.vmids, (settings.run / "guests", settings.trust))
    return ProxmoxEngine(
        wish,
        state=settings.state / "proxmox",
        images=partial(archive_of, settings.images),
        local=local,
    )


def proxmox_settings(spec: ProxmoxSpec, token: str) -> ProxmoxSettings:
    """A Node's settings as the engine takes them; what is not said is the engine's default."""
    given = {
        "storage": spec.storage,
        "template_storage": spec.template_storage,
        "resource_pool": spec.resource_pool,
        "vmids": None if spec.vmids is None else range_of(spec.vmids),
        "fingerprint": spec.fingerprint,
        "ca": PVE_AUTHORITY if spec.fingerprint is None and PVE_AUTHORITY.exists() else None,
    }
    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return ProxmoxSettings(url=spec.url, node=spec.node, token=token, **said)


def range_of(text: str) -> range:
    """20000-29999, both included."""
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1)


def is_this_host(node: str) -> bool:
    """Whether a node of Proxmox VE is this host: pmxcfs(8) links /etc/pve/local to nodes/<this host>."""
    try:
        return PVE_LOCAL.readlink().name == node
    except OSError:
        return False


def archive_of(images: Path, name: str) -> Archive | None:
    """The root file system of a guest template on this host."""
    found = (image.template.rootfs for image in read_images(images) if image.name == name)
    return next(found, None)
