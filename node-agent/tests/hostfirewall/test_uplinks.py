"""Uplinks that cut the node off are undone, and what was confirmed is kept so. The API server is on lan4."""

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.hostfirewall.keeper import AGENT_ENDED, Keeper
from dsecos_agent.hostfirewall.probe import HostProbe
from dsecos_agent.uplinks import kernel
from dsecos_api.hostpolicy import HostFirewall, Uplink

from tests.patience import until

from ..links.netns import ip  # noqa: TID252 - tests have no package to name
from .agent import INSTANCE, keeper, text
from .change import connects, nft, start, undoes
from .lan import Neighbour

FIREWALL = HostFirewall.model_validate({"managementNetworks": ["10.9.1.0/24"]})
ADDRESSES = ["10.9.4.1/24", "10.9.4.3/24", "fd09:4::1/64"]


def uplink(**spec: Any) -> tuple[Uplink]:
    return (Uplink.model_validate({"interface": "lan4", **spec}),)


GOOD = uplink(mtu=1400, addresses=["10.9.4.8/24", "10.9.4.1/24", "fd09:4::1/64"], gateway="10.9.4.2")
ELSEWHERE = uplink(addresses=["10.9.5.1/24", "fd09:5::1/64"], gateway="10.9.5.2", gateway6="fd09:5::2")
"""A network in which nobody is: the API server is lost."""


@pytest.fixture(autouse=True)
def settled(kubeconfig: Path, api: Neighbour) -> None:
    """What the distribution made of the node: more than uplinks can say."""
    ip("addr add 10.9.4.3/24 brd + dev lan4")
    ip("addr add 10.9.5.9/24 dev lan4 valid_lft 3000 preferred_lft 2000")
    ip("route add 10.50.0.0/16 via 10.9.4.9 metric 7")
    ip("-6 route add default via fd09:4::2")
    ip("-6 route add fd50::/64 via fd09:4::9 dev lan4")


def standing() -> list[str]:
    """Links, global addresses and routes, as the kernel has them."""
    found = ip("-o addr show scope global") + ip("-o link show lan4")
    for family in "46":
        found += ip(f"-o -{family} route show table main")
    passing = r"valid_lft \d+sec preferred_lft \d+sec|tentative|secondary|state \w+|proto static|^\d+:"
    return sorted(" ".join(re.sub(passing, " ", line).split()) for line in found.splitlines())


def rules() -> str:
    """What the kernel has of our firewall."""
    table = ["nft", "list", "table", "inet", f"{INSTANCE}_host"]
    return subprocess.run(table, capture_output=True, text=True, check=False).stdout


async def test_what_leaves_the_api_server_is_confirmed(agent: Keeper, folder: Path, probe: HostProbe) -> None:
    assert await agent.change(None, None, probe, GOOD) is None
    assert "mtu 1400" in ip("link show lan4")
    held = ip("-o addr show dev lan4 scope global")
    assert "10.9.4.8/24 brd 10.9.4.255" in held
    assert "10.9.4.3/24" not in held
    assert "10.9.5.9/24" not in held
    assert "10.50.0.0/16 via 10.9.4.9" in ip("route"), "routes that are none of ours stay"
    again = keeper(folder)
    assert again.confirmed is not None
    assert again.confirmed.uplinks == GOOD
    assert "gateway 10.9.4.2 on lan4" in again.confirmed.proof
    assert undoes(folder) == []


@pytest.mark.parametrize(
    ("uplinks", "told"),
    [
        (uplink(mtu=9000), "API server"),
        (ELSEWHERE, "API server"),
        (uplink(gateway="10.9.4.77"), "gateway 10.9.4.77 on lan4 does not answer"),
        (uplink(gateway6="fd09:4::77"), "gateway fd09:4::77 on lan4 does not answer"),
        (uplink(addresses=[*ADDRESSES, "fd09:4::2/64"]), "somebody else has fd09:4::2 already"),
    ],
    ids=["mtu", "addresses", "gateway", "gateway6", "duplicate"],
)
async def test_what_cuts_the_node_off_is_undone_and_not_tried_again(
    agent: Keeper, folder: Path, probe: HostProbe, api: Neighbour, uplinks: tuple[Uplink], told: str
) -> None:
    # A way that loses packets of more than 1500 bytes, and says nothing.
    lossy = "add table ip way; add chain ip way in { type filter hook input priority 0; }"
    lossy += "; add rule ip way in tcp flags syn tcp option maxseg size > 1460 drop"
    api.nft(lossy)
    before = standing()
    problem = await agent.change(None, None, probe, uplinks)
    assert problem is not None
    assert told in problem
    assert standing() == before
    assert await connects(probe)
    assert undoes(folder) == []
    assert keeper(folder).failure(None, uplinks) == problem
    assert agent.confirmed is None


async def test_an_agent_that_is_killed_in_the_middle_leaves_nothing_behind(
    folder: Path, kubeconfig: Path, probe: HostProbe
) -> None:
    before = standing()
    fault = {"DSECOS_FAULT_POINT": "host-uplinks-apply"}
    process = start(folder, kubeconfig, FIREWALL, 30, ELSEWHERE, **fault)
    assert process.wait(60) == -signal.SIGKILL
    until(lambda: not undoes(folder), what="the undo has ended")
    assert standing() == before
    assert await connects(probe)
    assert rules() == ""
    restarted = keeper(folder)
    await restarted.recover()
    assert restarted.failure(FIREWALL, ELSEWHERE) == AGENT_ENDED, "it is not tried again"
    assert standing() == before


async def test_an_agent_that_hangs_is_not_waited_for(
    folder: Path, kubeconfig: Path, probe: HostProbe
) -> None:
    before = standing()
    process = start(folder, kubeconfig, None, 1.0, ELSEWHERE, DSECOS_TEST_HANG="1")
    try:
        assert process.stdout.readline() == "hangs\n"
        until(lambda: standing() == before, what="the links are as they were")
        assert await connects(probe)
    finally:
        process.kill()
        process.wait()


async def test_if_the_undo_is_killed_too_the_next_agent_undoes(
    agent: Keeper, folder: Path, kubeconfig: Path, probe: HostProbe
) -> None:
    assert await agent.change(None, None, probe, GOOD) is None
    before = standing()
    process = start(folder, kubeconfig, None, 300, ELSEWHERE, DSECOS_TEST_HANG="1")
    assert process.stdout.readline() == "hangs\n"
    (undo,) = undoes(folder)
    undo.kill()
    process.kill()
    process.wait()
    assert standing() != before, "nobody was left to undo it"
    assert not await connects(probe)
    await keeper(folder).recover()
    assert standing() == before
    assert await connects(probe)


async def test_firewall_and_uplinks_are_one_change(agent: Keeper, folder: Path, probe: HostProbe) -> None:
    before = standing()
    assert await agent.change(FIREWALL, text(FIREWALL), probe, ELSEWHERE) is not None
    assert (standing(), rules()) == (before, "")
    locks_out = HostFirewall.model_validate({**FIREWALL.to_dict(), "egress": [{"cidr": "10.96.0.1/32"}]})
    assert await agent.change(locks_out, text(locks_out), probe, GOOD) is not None
    assert (standing(), rules()) == (before, "")
    assert await agent.change(FIREWALL, text(FIREWALL), probe, GOOD) is None
    assert "10.9.1.0/24" in rules()


async def test_what_the_kernel_does_not_take_is_undone(agent: Keeper, probe: HostProbe) -> None:
    ip("link add idle0 type veth peer name idle1")
    before = standing()
    down = (Uplink(interface="idle0", addresses=["10.9.77.1/24"], gateway="10.9.77.2"),)
    problem = await agent.change(None, None, probe, (*uplink(mtu=1400), *down))
    assert problem is not None
    assert "the kernel does not take them" in problem
    assert standing() == before


async def test_what_somebody_else_did_to_an_uplink_is_repaired(agent: Keeper, probe: HostProbe) -> None:
    assert await agent.change(None, None, probe, GOOD) is None
    before = standing()
    assert await agent.repair() == []
    for tampering in (
        "link set lan4 mtu 1500",
        "addr del 10.9.4.8/24 dev lan4",
        "addr add 10.9.4.66/24 dev lan4",
        "route del default",
        "route replace default via 10.9.4.66",
    ):
        ip(tampering)
        assert standing() != before
        assert await agent.repair() == ["the uplinks lan4"]
        assert standing() == before


async def test_at_boot_the_confirmed_ones_are_there_without_an_api_server(
    agent: Keeper, folder: Path, probe: HostProbe
) -> None:
    assert await agent.change(None, None, probe, GOOD) is None
    nft("delete table ip service")
    ip("link set lan4 mtu 1500")
    ip("addr flush dev lan4 scope global")
    ip("addr add 10.9.4.3/24 dev lan4")
    ip("route add 10.50.0.0/16 via 10.9.4.9 metric 7")
    await keeper(folder).recover()
    assert "mtu 1400" in ip("link show lan4")
    observed = await kernel.observe(["lan4"])
    assert {str(each) for each in observed.links["lan4"].interfaces()} == set(GOOD[0].addresses or ())
    assert "default via 10.9.4.2 dev lan4" in ip("route")


async def test_what_is_not_named_any_more_stays_as_it_is(agent: Keeper, probe: HostProbe) -> None:
    assert await agent.change(None, None, probe, GOOD) is None
    before = standing()
    await agent.lessen(None, None, ())
    assert agent.confirmed is None
    assert standing() == before
    ip("link set lan4 mtu 1500")
    assert await agent.repair() == [], "it is nobody's business any more"
