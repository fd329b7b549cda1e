"""The adapters of this host, opened with this instance's settings."""

from dataclasses import dataclass

from dsecos_agent.compose.protocol import Compose
from dsecos_agent.engines.protocol import Engine
from dsecos_agent.firewall.model import Firewall
from dsecos_agent.links.protocol import Links


@dataclass(frozen=True, slots=True)
class Host:
    """What the controllers act by; the pools are the inventory's."""

    engine: Engine
    links: Links
    firewall: Firewall
    compose: Compose

    async def close(self) -> None:
        """Release descriptors and sockets; guests, links and rules stay."""
        for adapter in (self.engine, self.links, self.firewall):
            await adapter.close()
