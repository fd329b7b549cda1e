"""Where the command finds things, from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings; each is read from DSECOS_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="DSECOS_", frozen=True)

    home: Path = Path("/var/lib/dsecos")
    """State of the instance on this machine: its kubeconfig, its catalog, its guests."""

    catalog: Path | None = None
    """Directory of the catalog.

    Unset: `catalog` in the home, else manifests/catalog of the checkout that we stand in.
    """

    node_name: str = "node-1"
    """Name of this machine's Node; `logs` can read what runs here only."""

    instance: str = "dsecos"
    """Name of this instance on the host: its nftables tables carry it."""

    link_prefix: str = "ds"
    """First characters of this instance's network links: bridges are `<prefix>z...`."""

    api_port: int = 6443
    """TCP port of the embedded API server."""

    etcd_port: int = 2379
    """TCP port of etcd; the next one is for its peers."""

    controller_manager_port: int = 10257
    """TCP port of the controller manager."""

    registry_port: int = 5000
    """TCP port of the node's registry; the next one is its read-only side."""

    operator_metrics_port: int = 9465
    """TCP port of the operator's metrics."""

    agent_metrics_port: int = 9466
    """TCP port of the agent's metrics."""

    guest_id_base: int = 1_000_000
    """First host user id of the guests' id maps."""

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig of the embedded control plane."""
        return self.home / "admin.kubeconfig"

    @property
    def lxc_path(self) -> Path:
        """The lxcpath; the tools want the same absolute path in every call (lxc(7), -P)."""
        return self.home / "lxc"

    @property
    def agent_socket(self) -> Path:
        """Where the node's agent is asked on the machine itself; root alone may."""
        return self.home / "run" / "agent.sock"
