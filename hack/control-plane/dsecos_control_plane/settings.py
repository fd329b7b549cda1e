"""Where the control plane keeps its state and which ports and names it takes, from the environment.

Several instances live side by side on one host when each has its own `DSECOS_HOME`, `DSECOS_INSTANCE`,
`DSECOS_LINK_PREFIX`, `DSECOS_GUEST_ID_BASE` and ports.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=1, le=65535)]

SOURCE = Path(__file__).resolve().parents[3]
"""The checkout that this package is installed from (editable): Go modules, CRDs, manifests and parts lie
there.
"""


PREFIX = "DSECOS_"


class Settings(BaseSettings):
    """Settings of one instance; each field is read from `DSECOS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    home: Path = Path("/var/lib/dsecos")
    """State of this instance: keys, etcd's data, logs, guests, images."""

    cache: Path = Field(default_factory=lambda: Path.home() / ".cache" / "dsecos")
    """Content-addressed builds, shared by all instances and kept by `make clean`."""

    instance: str = Field(default="dsecos", pattern=r"^[a-z][a-z0-9_]{0,30}$")
    """Name of this instance on the host: its nftables tables and systemd units carry it."""

    link_prefix: str = Field(default="ds", pattern=r"^[a-z][a-z0-9]$")
    """First two characters of every network link of this instance."""

    api_address: str = "127.0.0.1"
    """Address that the API server listens on. Another than loopback lets other machines join."""

    api_port: Port = 6443
    """TCP port of the Kubernetes API server."""

    etcd_port: Port = 2379
    """TCP port for etcd's clients, on loopback; the next one is for its peers."""

    controller_manager_port: Port = 10257
    """TCP port of the controller manager's health and metrics, on loopback."""

    registry_port: Port = 5000
    """TCP port of the registry's write side, on loopback; the next one is the read-only side for guests."""

    operator_metrics_port: Port = 9465
    """TCP port of the operator's metrics, on loopback."""

    agent_metrics_port: Port = 9466
    """TCP port of the agent's metrics, on loopback."""

    node_name: str = Field(default="node-1", pattern=r"^[a-z0-9]([-a-z0-9]{0,49}[a-z0-9])?$")
    """Name of this host's Node object."""

    guest_id_base: int = Field(default=1_000_000, ge=100_000, le=4_000_000_000)
    """First host uid and gid of the guests' id maps. The ids just below it belong to the services of this
    instance.
    """

    @property
    def bin(self) -> Path:
        """Programs of the control plane, executable by every service."""
        return self.home / "bin"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.home / "pki"

    @property
    def etc(self) -> Path:
        """Rendered configuration of the services."""
        return self.home / "etc"

    @property
    def logs(self) -> Path:
        """Logs of the services, the audit log among them."""
        return self.home / "log"

    @property
    def run(self) -> Path:
        """What holds only while the instance runs: sockets, records of what was changed on the host."""
        return self.home / "run"

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig, mode 0600."""
        return self.home / "admin.kubeconfig"

    @property
    def registry_password(self) -> Path:
        """The password of the registry's write side, mode 0600."""
        return self.home / "registry-password"

    @property
    def api_server(self) -> str:
        """URL of the embedded API server as seen from this host."""
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def registry_read_port(self) -> int:
        """TCP port of the registry's read-only side."""
        return self.registry_port + 1

    @property
    def external_kubeconfig(self) -> Path | None:
        """The user's own cluster, where `KUBECONFIG` names one: then no control plane is started here."""
        named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        if not named or Path(named).resolve() == self.admin_kubeconfig.resolve():
            return None
        return Path(named).resolve()

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that the launcher itself works with."""
        return self.external_kubeconfig or self.admin_kubeconfig

    def environment(self) -> dict[str, str]:
        """Return the variables that make another process see these very settings.

        What else is set for DsecOS in our own environment is passed on: operator and agent have settings of
        theirs.
        """
        theirs = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
        return theirs | {f"{PREFIX}{name.upper()}": str(value) for name, value in self.model_dump().items()}
