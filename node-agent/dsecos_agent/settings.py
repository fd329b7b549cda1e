"""Settings of the node agent, all from the environment (`DSECOS_<FIELD>`)."""

from pathlib import Path
from typing import Annotated

from dsecos_api.names import node_namespace
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65535)]


class AgentSettings(BaseSettings):
    """One instance on one node.

    What differs between instances on one host: home, instance, link_prefix, ports.
    """

    model_config = SettingsConfigDict(env_prefix="DSECOS_", frozen=True)

    home: Path = Path("/var/lib/dsecos")
    """State of this instance: pools, guests' configurations, images, the agent's own records."""

    instance: str = Field(default="dsecos", pattern=r"^[a-z][a-z0-9_]{0,30}$")
    """Name of this instance on the host; its nftables tables carry it."""

    link_prefix: str = Field(default="ds", pattern=r"^[a-z][a-z0-9]$")
    """First two characters of every link's name:

    bridges `<prefix>z<8 hex>`, guests' veths `<prefix>g<8 hex>`.
    """

    node_name: str = "node-1"
    """Name of the Node object that this agent reports for."""

    registry_port: Port = 5000
    """Write side of the node's registry; guests read from the port above it."""

    agent_metrics_port: int = Field(default=9466, ge=0, le=65535)
    """Prometheus metrics on 127.0.0.1; 0: none."""

    pool_size: int = Field(default=64 << 30, ge=1 << 28)
    """Bytes of the sparse file behind the default pool when it is made; unused bytes take no room on the
    disk.
    """

    guest_id_base: int = Field(default=1_000_000, ge=100_000, le=4_000_000_000)
    """First host id of the guests' id maps."""

    guest_id_count: int = Field(default=1024 * 65536, ge=65536)
    """Host ids that are reserved for them."""

    host_lxc: Path = Path("/var/lib/lxc")
    """lxcpath of the host's own containers, those that can be adopted (lxc.lxcpath of lxc.system.conf(5))."""

    max_guests: int = Field(default=100, ge=1)
    """Guests that this node takes."""

    guest_pids: int = Field(default=8192, ge=64)
    """Processes and threads that one guest may have."""

    parallel_starts: int = Field(default=8, ge=1)
    """Guests whose services are brought up at the same time; others wait their turn."""

    stop_grace: float = Field(default=30.0, ge=0)
    """Seconds that a guest gets to shut down before it is killed."""

    docker_time_limit: float = Field(default=60.0, gt=0)
    """Seconds until a started guest's dockerd has to answer."""

    compose_time_limit: float = Field(default=900.0, gt=0)
    """Seconds that one `docker compose up` may take, pulls included."""

    boot_patience: float = Field(default=3.0, ge=0)
    """Seconds to wait for the API server when the agent starts, before guests are started as last known."""

    names: bool = True
    """Whether zones have a name server on this node, at their gateway. False: none runs, the port is closed,
    and new guests are told of none.
    """

    host_firewall_seconds: float = Field(default=30.0, ge=15)
    """Seconds after which a change of the node's own firewall or uplinks is undone that was not proved
    meanwhile; a look at API server and gateways takes up to ten.
    """

    @property
    def namespace(self) -> str:
        """The only namespace that this agent reads."""
        return node_namespace(self.node_name)

    @property
    def registry_read_port(self) -> int:
        """Where guests find the registry, at their gateway."""
        return self.registry_port + 1

    @property
    def lxc(self) -> Path:
        """The engine's directory (lxcpath)."""
        return self.home / "lxc"

    @property
    def pools(self) -> Path:
        """Where storage pools are mounted."""
        return self.home / "pools"

    @property
    def run(self) -> Path:
        """What has to be known while guests run: ids that were reserved, settings of the host before us."""
        return self.home / "run"

    @property
    def name_servers(self) -> Path:
        """Files of the zones' name servers; whom they run as can see them."""
        return self.run / "names"

    @property
    def trust(self) -> Path:
        """Guests see this directory; it holds the certificate that they trust the registry by, and nothing
        else.
        """
        return self.run / "registry-trust"

    @property
    def images(self) -> Path:
        """Holds one directory a guest template."""
        return self.home / "images"

    @property
    def state(self) -> Path:
        """The agent's own records, for root alone."""
        return self.home / "agent" / "state"

    @property
    def registry_ca(self) -> Path:
        """Certificate of the authority that signed the registry's, in PEM."""
        return self.home / "pki" / "registry-ca.crt"
