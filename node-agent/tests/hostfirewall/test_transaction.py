"""A change that takes the API server away is undone, whoever dies."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from dsecos_agent.firewall import netlink
from dsecos_agent.hostfirewall.armed import Undo, UndoNotArmedError, nobody_undoes
from dsecos_agent.hostfirewall.check import check
from dsecos_agent.hostfirewall.keeper import AGENT_ENDED, Keeper, NotNowError
from dsecos_agent.hostfirewall.model import rules_of
from dsecos_agent.hostfirewall.probe import HostProbe, Reach, broken
from dsecos_agent.hostfirewall.table import HostTable
from dsecos_api.hostpolicy import HostFirewall

from tests.patience import until

from ..links.netns import ip  # noqa: TID252 - tests have no package to name
from .agent import INSTANCE, keeper, text
from .change import PORT, SERVICE, connects, nft, start, undoes
from .lan import Neighbour, Try

FIRST = HostFirewall.model_validate({"managementNetworks": ["10.9.1.0/24"]})
GOOD = HostFirewall.model_validate({"managementNetworks": ["10.9.1.0/24"], "allow": [{"port": 80}]})
LOCKS_OUT = HostFirewall.model_validate(
    {"managementNetworks": ["10.9.1.0/24"], "egress": [{"cidr": f"{SERVICE}/32"}]}
)
"""Passes what is checked beforehand: the address that the kubeconfig names may be spoken to."""


def rules() -> str:
    """What the kernel has of ours."""
    return subprocess.run(
        ["nft", "--stateless", "list", "table", "inet", f"{INSTANCE}_host"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout


async def test_what_leaves_the_api_server_is_confirmed(
    agent: Keeper, admin: Neighbour, folder: Path, probe: HostProbe
) -> None:
    assert await agent.change(GOOD, text(GOOD), probe) is None
    assert agent.confirmed is not None
    assert agent.confirmed.firewall == GOOD
    assert f"API server {SERVICE}:{PORT}" in agent.confirmed.proof
    assert "gateway 10.9.4.2 on lan4" in agent.confirmed.proof
    assert "dport 80" in rules()
    assert undoes(folder) == []


async def test_the_lock_out_passes_what_is_checked_beforehand(probe: HostProbe) -> None:
    api = await probe.api_server()
    assert check(rules_of(LOCKS_OUT, [], api_port=None), api) is None


async def test_what_takes_the_api_server_away_is_undone_and_not_tried_again(
    agent: Keeper, folder: Path, probe: HostProbe
) -> None:
    assert await agent.change(FIRST, text(FIRST), probe) is None
    before = rules()
    problem = await agent.change(LOCKS_OUT, text(LOCKS_OUT), probe)
    assert problem is not None
    assert f"API server {SERVICE}:{PORT} cannot be reached" in problem
    assert rules() == before
    assert await connects(probe)
    assert undoes(folder) == []
    again = keeper(folder)
    assert again.failure(LOCKS_OUT) == problem
    assert again.failure(GOOD) is None
    assert again.confirmed is not None
    assert again.confirmed.firewall == FIRST
    assert await again.change(GOOD, text(GOOD), probe) is None
    assert again.failure(LOCKS_OUT) is None, "another change was made since"


async def test_the_first_firewall_of_all_is_undone_to_none(agent: Keeper, probe: HostProbe) -> None:
    assert await agent.change(LOCKS_OUT, text(LOCKS_OUT), probe) is not None
    assert rules() == ""
    assert agent.confirmed is None


async def test_an_agent_that_is_killed_in_the_middle_leaves_nothing_behind(
    agent: Keeper, folder: Path, kubeconfig: Path, capsys: pytest.CaptureFixture[str], probe: HostProbe
) -> None:
    assert await agent.change(FIRST, text(FIRST), probe) is None
    before = rules()
    fault = {"DSECOS_FAULT_POINT": "host-firewall-apply"}
    process = start(folder, kubeconfig, LOCKS_OUT, 30, **fault)
    assert process.wait(60) == -signal.SIGKILL
    began = time.monotonic()
    until(lambda: rules() == before, what="the former rules are back")
    took = time.monotonic() - began
    assert await connects(probe)
    until(lambda: not undoes(folder), what="the undo has ended")
    with capsys.disabled():
        print(f"\nagent killed with the rules in force: former rules back after {took:.3f} s")
    restarted = keeper(folder)
    await restarted.recover()
    assert rules() == before
    assert restarted.failure(LOCKS_OUT) == AGENT_ENDED, "it is not tried again"


async def test_an_agent_that_hangs_is_not_waited_for(
    agent: Keeper, folder: Path, kubeconfig: Path, probe: HostProbe
) -> None:
    assert await agent.change(FIRST, text(FIRST), probe) is None
    before = rules()
    process = start(folder, kubeconfig, LOCKS_OUT, 1.0, DSECOS_TEST_HANG="1")
    try:
        assert process.stdout.readline() == "hangs\n"
        until(lambda: rules() == before, what="the former rules are back")
        assert await connects(probe)
    finally:
        process.kill()
        process.wait()


async def test_if_the_undo_is_killed_too_the_next_agent_undoes(
    agent: Keeper, folder: Path, kubeconfig: Path, probe: HostProbe
) -> None:
    assert await agent.change(FIRST, text(FIRST), probe) is None
    before = rules()
    process = start(folder, kubeconfig, LOCKS_OUT, 300, DSECOS_TEST_HANG="1")
    assert process.stdout.readline() == "hangs\n"
    (undo,) = undoes(folder)
    undo.kill()
    process.kill()
    process.wait()
    assert rules() != before, "nobody was left to undo it"
    assert not await connects(probe)
    await keeper(folder).recover()
    assert rules() == before
    assert await connects(probe)


async def test_without_its_undo_a_change_is_not_made(folder: Path, probe: HostProbe) -> None:
    async def broken(*_: Any) -> Undo:
        raise UndoNotArmedError("no process can be started")

    table = HostTable(INSTANCE, folder / "applied.json")
    agent = Keeper(table, instance=INSTANCE, folder=folder, seconds=30, arm=broken)
    with pytest.raises(UndoNotArmedError):
        await agent.change(GOOD, text(GOOD), probe)
    assert rules() == ""


async def test_a_change_whose_undo_dies_is_undone_by_the_agent(
    agent: Keeper, folder: Path, probe: HostProbe
) -> None:
    class Killing:
        async def look(self) -> Any:
            for process in undoes(folder):
                process.kill()
                process.wait()
            return await probe.look()

    with pytest.raises(Exception, match="ended before its time"):
        await agent.change(GOOD, text(GOOD), Killing())
    assert rules() == ""
    assert agent.failure(GOOD) is None, "it was not to blame"


async def test_while_the_api_server_is_away_nothing_is_changed(agent: Keeper, probe: HostProbe) -> None:
    nft("flush table ip service")
    with pytest.raises(NotNowError, match="the change waits"):
        await agent.change(GOOD, text(GOOD), probe)
    assert rules() == ""


async def test_a_gateway_that_was_silent_before_is_not_judged(agent: Keeper, probe: HostProbe) -> None:
    ip("route add default via 10.9.4.77 metric 50")
    assert await agent.change(GOOD, text(GOOD), probe) is None
    assert agent.confirmed is not None
    assert "not judged: gateway 10.9.4.77 on lan4" in agent.confirmed.proof


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, None),
        ({"a": None}, {"a": None}, None),
        ({"a": None}, {"a": "a is silent"}, "a is silent"),
        ({"a": "a is silent"}, {"a": "a is silent"}, None),
        ({"a": None, "b": "silent"}, {"b": "silent"}, None),
        ({"a": None}, {"b": "b is new and silent"}, "b is new and silent"),
    ],
)
def test_a_change_is_judged_by_what_it_broke(
    before: dict[str, str | None], after: dict[str, str | None], told: str | None
) -> None:
    assert broken(Reach(None, gateways=before), Reach(None, gateways=after)) == told
    assert broken(Reach(None, gateways=before), Reach("no API server", gateways=after)) == "no API server"


async def test_rules_that_nft_does_not_take_change_nothing(agent: Keeper, probe: HostProbe) -> None:
    assert await agent.change(FIRST, text(FIRST), probe) is None
    before = rules()
    with pytest.raises(Exception, match="nft does not take"):
        await agent.change(GOOD, text(GOOD).replace("drop", "dorp"), probe)
    assert rules() == before
    assert agent.failure(GOOD) is None


async def test_what_somebody_else_did_to_the_table_is_repaired(agent: Keeper, probe: HostProbe) -> None:
    assert await agent.change(FIRST, text(FIRST), probe) is None
    before = rules()
    assert not await agent.repair()
    for tampering in (
        "flush chain inet {} input",
        "insert rule inet {} input accept",
        "delete table inet {}",
    ):
        nft(tampering.format(f"{INSTANCE}_host"))
        assert rules() != before
        assert await agent.repair()
        assert rules() == before


async def test_at_boot_the_last_confirmed_one_is_there_without_an_api_server(
    agent: Keeper, folder: Path, probe: HostProbe
) -> None:
    assert await agent.change(GOOD, text(GOOD), probe) is None
    before = rules()
    nft(f"delete table inet {INSTANCE}_host")
    nft("delete table ip service")
    await keeper(folder).recover()
    assert rules() == before


async def test_without_a_firewall_the_table_goes(agent: Keeper, admin: Neighbour, probe: HostProbe) -> None:
    assert await agent.change(GOOD, text(GOOD), probe) is None
    await agent.lessen(None, None, ())
    assert rules() == ""
    assert agent.confirmed is None
    generation = netlink.generation()
    assert await agent.lessen(None, None, ()) == []
    assert netlink.generation() == generation, "a second time nothing is done"
    assert admin.reaches(Try("tcp", 9)) == ["Connection refused"]


async def test_the_next_agent_waits_for_an_undo_that_is_under_way(folder: Path, network: None) -> None:
    lock = folder / "host-firewall.lock"
    undo = await Undo.arm([], 300, lock)
    with pytest.raises(Exception, match="still under way"):
        async with nobody_undoes(lock, 0.2):
            pass
    undo.abandon()
    async with nobody_undoes(lock, 60):
        pass
