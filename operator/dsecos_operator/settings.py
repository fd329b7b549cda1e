"""What can be set of the operator, by the environment (prefix DSECOS_)."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dsecos_operator.rendering import Confinement
from dsecos_operator.scheduling.model import PortKey, Rules
from dsecos_operator.zones.ids import LARGEST_VLAN_ID, VLAN_IDS, IdRange

Network = IPv4Network | IPv6Network

PRIVATE: tuple[Network, ...] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("fc00::/7"),
)
"""RFC 1918 and RFC 4193."""


def _listed(value: Any) -> Any:
    return [each.strip() for each in value.split(",")] if isinstance(value, str) else value


def _vlan_ids(value: Any) -> Any:
    """Raises ValueError."""
    if not isinstance(value, str):
        return value
    first, _, last = (each.strip() for each in value.partition("-"))
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= LARGEST_VLAN_ID):
        raise ValueError(f"write the first and the last id as 3000-3999, between 1 and {LARGEST_VLAN_ID}")
    return IdRange(int(first), int(last))


class OperatorSettings(BaseSettings):
    """Each field is read from `DSECOS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="DSECOS_", frozen=True, extra="ignore")

    home: Path = Path("/var/lib/dsecos")
    """State of this instance; programs lie in its bin/."""

    catalog: Path | None = None
    """Folder of the stack templates. Unset: `catalog` in home."""

    compose_binary: Path | None = None
    """Docker Compose's program. Unset: `bin/docker-compose` in home."""

    renderer_confinement: Confinement = Confinement.BUBBLEWRAP
    """How the process that reads compose documents and templates is confined: bubblewrap, or none."""

    operator_metrics_port: int = Field(default=9465, ge=0, le=65535)
    """TCP port of the metrics on loopback; 0: none."""

    agent_metrics_port: int = Field(default=9466, ge=0, le=65535)
    """TCP port of the agents' metrics: no guest gets it."""

    api_port: int = Field(default=6443, ge=1, le=65535)
    """TCP port of an embedded API server: no guest gets it."""

    etcd_port: int = Field(default=2379, ge=1, le=65535)
    """TCP port of an embedded etcd, and the next one: no guest gets them."""

    registry_port: int = Field(default=5000, ge=1, le=65535)
    """TCP port of the registry, and the next one: no guest gets them."""

    controller_manager_port: int = Field(default=10257, ge=1, le=65535)
    """TCP port of an embedded controller manager: no guest gets it."""

    guest_id_base: int = Field(default=1_000_000, ge=65_536)
    """First host id of the guests' id maps; each guest gets 65,536."""

    cpu_overcommit: float = Field(default=4.0, ge=1.0, le=100.0)
    """Sum of the guests' CPU limits on a node, as a multiple of its allocatable cores. Memory is never
    overcommitted.
    """

    host_firewall_max_unavailable: int = Field(default=1, ge=1)
    """Nodes that may have a changed firewall of their own, or changed uplinks, that are not proved yet."""

    zone_networks: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_listed)] = PRIVATE
    """Networks that zones may take theirs from, separated by commas: whoever may make a zone decides what
    lies behind its addresses on the nodes that have it, so keep your servers' networks out.
    """

    vlan_ids: Annotated[IdRange, NoDecode, BeforeValidator(_vlan_ids)] = VLAN_IDS
    """802.1Q ids that zones of encapsulation vlan can have, as `first-last`: leave out those that your
    switches use for anything else. A zone that has another one, of a range of before, keeps it.
    """

    @property
    def catalog_folder(self) -> Path:
        """Where the stack templates are."""
        return self.catalog or self.home / "catalog"

    @property
    def compose_program(self) -> Path:
        """Where Docker Compose is."""
        return self.compose_binary or self.home / "bin" / "docker-compose"

    def rules(self) -> Rules:
        """What the scheduler goes by. Port 22 is how an administrator gets in."""
        own = (
            22,
            self.api_port,
            self.etcd_port,
            self.etcd_port + 1,
            self.registry_port,
            self.registry_port + 1,
            self.controller_manager_port,
            self.operator_metrics_port,
            self.agent_metrics_port,
        )
        reserved: frozenset[PortKey] = frozenset(("TCP", port) for port in own)
        return Rules(cpu_overcommit=self.cpu_overcommit, reserved_ports=reserved)
