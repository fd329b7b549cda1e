"""What the agent's token lacks, asked of a simulated Proxmox VE, and what the engine cannot do for that."""

from __future__ import annotations

import pytest
from dsecos_agent.engines.model import Capability
from dsecos_agent.engines.proxmox import privileges
from dsecos_agent.engines.proxmox.client import Client
from dsecos_agent.engines.proxmox.settings import ProxmoxSettings
from dsecos_api.proxmox import Missing
from dsecos_proxmox_simulator import Simulator, World

from .parts import rights


async def lacking(version: str, *without: str) -> list[Missing]:
    """What a token lacks that has all but these privileges."""
    with Simulator(World(), version=version) as simulator:
        granted = {
            path: [name for name in names if name not in without] for path, names in rights(version).items()
        }
        secret = simulator.add_token("dsecos@pve", "pve1", granted)
        settings = ProxmoxSettings(
            url=simulator.url,
            node="pve1",
            token=f"dsecos@pve!pve1={secret}",
            fingerprint=simulator.fingerprint,
        )
        client = Client(settings, point=lambda _: None)
        try:
            return await privileges.check(client, settings)
        finally:
            await client.close()


@pytest.mark.parametrize("version", ["8.4", "9.1"])
async def test_a_token_with_the_documented_privileges_lacks_nothing(version: str) -> None:
    assert await lacking(version) == []


@pytest.mark.parametrize("version", ["8.4", "9.1"])
async def test_a_missing_privilege_is_named_with_its_path(version: str) -> None:
    [item] = await lacking(version, "VM.PowerMgmt")
    assert str(item) == "VM.PowerMgmt on /vms: start, shut down, stop, suspend, resume"
    assert privileges.needed_always([item]) == [item]
    assert privileges.lost([item]) == {}


async def test_what_a_feature_needs_takes_its_capability_away() -> None:
    found = await lacking("9.1", "VM.Snapshot", "VM.Migrate")
    assert privileges.needed_always(found) == []
    assert privileges.lost(found) == {
        Capability.SNAPSHOT: "the credential lacks VM.Snapshot on /vms",
        Capability.MIGRATE: "the credential lacks VM.Migrate on /vms",
        Capability.LIVE_MIGRATE: "the credential lacks VM.Migrate on /vms",
    }


@pytest.mark.parametrize(("version", "major"), [("8.4.1", 8), ("9.1", 9), ("10.0", 9), ("7.4-3", 9), ("", 9)])
def test_a_version_that_is_not_known_counts_as_the_newest_known(version: str, major: int) -> None:
    assert privileges.major_of({"version": version}) == major
