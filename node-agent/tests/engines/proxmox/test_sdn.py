"""Networks on a simulated cluster: staged, applied once, and believed only when the nodes say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from dsecos_agent.adapter_errors import AdapterError, NotOursError
from dsecos_agent.engines.proxmox.sdn import NotAppliedError, Sdn, StagedByOthersError
from dsecos_agent.engines.proxmox.sdn_plan import Network, ZoneKind, name_of
from dsecos_proxmox_simulator import Simulator, World
from dsecos_proxmox_simulator.faults import LostAnswer, NoWorker

from .parts import Parts, parts

SHOP = Network(
    "uid-shop",
    ZoneKind.VXLAN,
    tag=1000,
    peers=(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")),
    cidr=IPv4Network("10.80.0.0/24"),
)
BLOG = Network("uid-blog", ZoneKind.SIMPLE)
APPLY = "PUT /cluster/sdn"


class Lab:
    """A cluster of two nodes, and the agent's side of its SDN."""

    def __init__(self, parts: Parts, home: Path) -> None:
        self.parts = parts
        self.simulator = parts.simulator
        self.home = home
        self.sdn = self.fresh()

    def fresh(self) -> Sdn:
        """As after a restart of the agent."""
        return Sdn(self.parts.client, self.parts.tasks, self.parts.settings, self.home / "sdn-lock")

    def applied(self) -> int:
        return self.simulator.calls.counts()[APPLY]

    def changes(self) -> list[str]:
        return [f"{call.method} {call.template}" for call in self.simulator.calls if call.method != "GET"]

    def bridge(self, network: Network) -> list[bool]:
        return [self.simulator.world.bridge_exists(node, network.name) for node in ("pve1", "pve2")]


@pytest.fixture(params=["8.4", "9.1"])
async def lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lab]:
    with Simulator(World(nodes=("pve1", "pve2")), version=request.param) as simulator:
        async with parts(simulator, tmp_path) as made:
            yield Lab(made, tmp_path)


async def test_a_network_is_there_on_every_node_after_one_apply(lab: Lab) -> None:
    await lab.sdn.ensure([SHOP])
    assert lab.bridge(SHOP) == [True, True]
    assert lab.applied() == 1


async def test_what_is_there_is_not_changed_again(lab: Lab) -> None:
    await lab.sdn.ensure([SHOP, BLOG])
    lab.simulator.calls.clear()
    await lab.fresh().ensure([SHOP, BLOG])
    assert lab.changes() == []


async def test_callers_that_come_together_share_one_apply(lab: Lab) -> None:
    networks = [Network(f"uid-{number}", ZoneKind.SIMPLE) for number in range(10)]
    await asyncio.gather(*(lab.sdn.ensure([network]) for network in networks))
    assert all(lab.bridge(network) == [True, True] for network in networks)
    # The first caller goes alone; whoever comes meanwhile goes together.
    assert lab.applied() <= 2


async def test_a_network_that_nobody_needs_goes_and_the_others_stay(lab: Lab) -> None:
    await lab.sdn.ensure([SHOP, BLOG])
    await lab.sdn.ensure([], [SHOP.owner_uid])
    assert (lab.bridge(SHOP), lab.bridge(BLOG)) == ([False, False], [True, True])
    await lab.sdn.ensure([], [SHOP.owner_uid])
    assert lab.applied() == 2


async def test_changes_that_others_have_staged_are_not_applied_with_ours(lab: Lab) -> None:
    await lab.parts.client.post("/cluster/sdn/zones", zone="lab", type="simple")
    with pytest.raises(StagedByOthersError, match="lab"):
        await lab.sdn.ensure([SHOP])
    assert lab.applied() == 0
    assert ("zone", SHOP.name) not in lab.simulator.world.sdn


async def test_a_node_that_fails_behind_an_ok_is_found_out(lab: Lab) -> None:
    lab.simulator.world.nodes["pve2"].reload_fails = True
    with pytest.raises(NotAppliedError, match=f"{SHOP.name} on pve2"):
        await lab.sdn.ensure([SHOP])
    lab.simulator.world.nodes["pve2"].reload_fails = False
    await lab.sdn.ensure([SHOP])
    assert lab.bridge(SHOP) == [True, True]


async def test_a_foreign_vnet_of_our_name_is_left_alone(lab: Lab) -> None:
    await lab.parts.client.post("/cluster/sdn/zones", zone="lab", type="simple")
    await lab.parts.client.post("/cluster/sdn/vnets", vnet=name_of(SHOP.owner_uid), zone="lab", alias="Ann")
    await lab.parts.client.put("/cluster/sdn")
    assert lab.simulator.tasks.wait_idle()
    with pytest.raises(NotOursError):
        await lab.sdn.ensure([SHOP])
    with pytest.raises(NotOursError):
        await lab.sdn.ensure([], [SHOP.owner_uid])


async def test_a_round_that_failed_half_way_is_finished_by_the_next(lab: Lab) -> None:
    lab.simulator.faults.once("POST", "/cluster/sdn/vnets", LostAnswer())
    with pytest.raises(AdapterError):
        await lab.sdn.ensure([SHOP])
    await lab.fresh().ensure([SHOP])
    assert lab.bridge(SHOP) == [True, True]


async def test_all_callers_of_a_round_hear_of_its_error(lab: Lab) -> None:
    lab.simulator.faults.always("PUT", "/cluster/sdn", NoWorker())
    results = await asyncio.gather(*(lab.sdn.ensure([n]) for n in (SHOP, BLOG)), return_exceptions=True)
    assert all(isinstance(result, AdapterError) for result in results)
    lab.simulator.faults.clear()
    await lab.sdn.ensure([SHOP, BLOG])
    assert lab.bridge(BLOG) == [True, True]


async def test_a_lock_that_we_were_killed_with_is_given_back(lab: Lab) -> None:
    if lab.simulator.version == "8.4":
        return  # it has no lock
    token = await lab.parts.client.post("/cluster/sdn/lock")
    (lab.home / "sdn-lock").write_text(token)
    await lab.fresh().ensure([SHOP])
    assert not (lab.home / "sdn-lock").exists()
    assert lab.simulator.world.sdn_lock_token == ""


async def test_somebody_elses_lock_is_respected(lab: Lab) -> None:
    if lab.simulator.version == "8.4":
        return  # it has no lock
    await lab.parts.client.post("/cluster/sdn/lock")
    with pytest.raises(AdapterError):
        await lab.sdn.ensure([SHOP])
    assert lab.applied() == 0


async def test_a_changed_network_is_changed_everywhere(lab: Lab) -> None:
    await lab.sdn.ensure([SHOP])
    await lab.sdn.ensure([replace(SHOP, tag=1001)])
    assert (lab.simulator.world.sdn["vnet", SHOP.name].running or {})["tag"] == "1001"
    assert lab.applied() == 2
