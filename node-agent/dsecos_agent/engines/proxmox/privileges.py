"""What the agent's credential may do, held against what it needs (`dsecos_api.proxmox`)."""

from collections.abc import Iterable, Mapping

from dsecos_api import proxmox
from dsecos_api.proxmox import Feature, Missing, Scope

from dsecos_agent.engines.model import Capability
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings

OF_FEATURE: Mapping[Feature, tuple[Capability, ...]] = {
    Feature.SNAPSHOTS: (Capability.SNAPSHOT,),
    Feature.MIGRATION: (Capability.MIGRATE, Capability.LIVE_MIGRATE),
}
"""What an engine cannot do without the privileges of a feature."""


async def check(client: Client, settings: ProxmoxSettings) -> list[Missing]:
    """What the credential lacks; empty when nothing. Raises what a read raises."""
    version = await client.get("/version")
    permissions = await client.get("/access/permissions")
    scope = Scope(settings.node, settings.storage, settings.template_storage, settings.resource_pool)
    return proxmox.missing(permissions or {}, scope, major=major_of(version))


def major_of(version: Mapping[str, object]) -> int:
    """Major version, from the answer of `GET /version`. One that is not known counts as the newest known."""
    found = str(version.get("version", "")).partition(".")[0]
    return int(found) if found.isdigit() and int(found) in proxmox.VERSIONS else proxmox.VERSIONS[-1]


def needed_always(found: Iterable[Missing]) -> list[Missing]:
    """What no guest runs without."""
    return [item for item in found if item.privilege.feature is Feature.ALWAYS]


def lost(found: Iterable[Missing]) -> dict[Capability, str]:
    """Capabilities that are not there because a privilege is not -> which."""
    return {
        capability: f"the credential lacks {item.privilege.name} on {item.path}"
        for item in found
        for capability in OF_FEATURE.get(item.privilege.feature, ())
    }
