"""The adapters of this host, opened with this instance's settings."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_api.node import Engine as EngineSpec

from dsecos_agent.adapter_errors import UnsupportedError
from dsecos_agent.compose.protocol import Compose
from dsecos_agent.compose.runner import GuestCompose
from dsecos_agent.engines.lxc import LxcEngine
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.firewall.model import Firewall
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Links
from dsecos_agent.node.engines import EngineSlot
from dsecos_agent.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class Host:
    """What the controllers act by; the pools are the inventory's."""

    engines: EngineSlot
    links: Links
    firewall: Firewall
    compose: Compose

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
        )

    @property
    def engine(self) -> Engine:
        """The node's engine; each call raises EngineNotConfiguredError while there is none."""
        return self.engines.as_engine()

    async def close(self) -> None:
        """Release descriptors and sockets; guests, links and rules stay."""
        await self.engines.close()
        await self.links.close()
        await self.firewall.close()


def build_engine(settings: AgentSettings, spec: EngineSpec, token: str) -> Engine:
    """The engine that a Node asks for. Nothing is touched yet. Raises UnsupportedError."""
    if spec.proxmox is None:
        ids = IdRange(settings.guest_id_base, settings.guest_id_count)
        return LxcEngine(settings.lxc, settings.run, ids)
    raise UnsupportedError(f"this version has no engine {spec.type.value}{token[:0]}")
