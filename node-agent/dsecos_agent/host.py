"""The adapters of this host, opened with this instance's settings."""

from __future__ import annotations

from dataclasses import dataclass

from dsecos_agent.compose.protocol import Compose
from dsecos_agent.compose.runner import GuestCompose
from dsecos_agent.engines.lxc import LxcEngine
from dsecos_agent.engines.lxc.subids import IdRange
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.firewall.model import Firewall
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Links
from dsecos_agent.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class Host:
    """What the controllers act by; the pools are the inventory's."""

    engine: Engine
    links: Links
    firewall: Firewall
    compose: Compose

    @classmethod
    def of(cls, settings: AgentSettings) -> Host:
        """Nothing is touched yet. Raises UnsupportedError."""
        settings.run.mkdir(mode=0o711, parents=True, exist_ok=True)
        ids = IdRange(settings.guest_id_base, settings.guest_id_count)
        engine = LxcEngine(settings.lxc, settings.run, ids)
        return cls(
            engine=engine,
            links=NetlinkLinks(settings.link_prefix, settings.run),
            firewall=NftFirewall(settings.instance, settings.link_prefix, settings.run),
            compose=GuestCompose(engine),
        )

    async def close(self) -> None:
        """Release descriptors and sockets; guests, links and rules stay."""
        await self.engine.close()
        await self.links.close()
        await self.firewall.close()
