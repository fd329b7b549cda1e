"""Whether the kernel still has what we put there, and being told when it has not."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.firewall.drift import canonical
from dsecos_agent.firewall.model import (
    Direction,
    Drift,
    EgressMode,
    ExposedPort,
    FirewallRefusedError,
    Policy,
)
from dsecos_agent.firewall.nft import NftFirewall

from tests.patience import async_until

from .world import World

POLICY = Policy(
    tuple(replace(zone, egress=EgressMode.NAT) for zone in World.zones),
    tuple(replace(guest, exposed=(ExposedPort(80),)) for guest in World.guests),
)
OTHER = replace(POLICY, registry_port=5001)


def nft(command: str) -> str:
    return subprocess.run(["nft", command], check=True, capture_output=True, text=True).stdout


def nft_json(command: str) -> object:
    return json.loads(
        subprocess.run(["nft", "-j", command], check=True, capture_output=True, text=True).stdout
    )


@pytest.fixture
def restarted(network: None, tmp_path: Path) -> Callable[[], NftFirewall]:
    return lambda: NftFirewall("dtfw", "dt", tmp_path / "run")


async def test_before_and_after(firewall: NftFirewall) -> None:
    assert await firewall.drift(POLICY) is Drift.NEVER_APPLIED
    await firewall.apply(POLICY)
    assert await firewall.drift(POLICY) is Drift.NONE
    assert await firewall.drift(OTHER) is Drift.CHANGED
    await firewall.apply(OTHER)
    assert await firewall.drift(OTHER) is Drift.NONE
    await firewall.remove()
    await firewall.remove()
    assert await firewall.drift(OTHER) is Drift.NEVER_APPLIED
    assert nft("list tables") == ""


@pytest.mark.parametrize("family", ["inet", "bridge"])
async def test_a_deleted_table(firewall: NftFirewall, family: str) -> None:
    await firewall.apply(POLICY)
    nft(f"delete table {family} dtfw")
    assert await firewall.drift(POLICY) is Drift.MISSING
    await firewall.apply(POLICY)
    assert await firewall.drift(POLICY) is Drift.NONE


@pytest.mark.parametrize(
    "tampering",
    [
        "flush chain inet dtfw forward",
        "insert rule inet dtfw forward accept",
        "add rule inet dtfw to_zone accept",
        "add element inet dtfw exposed { 10.213.1.2 . tcp . 22 }",
        "delete element inet dtfw exposed { 10.213.1.2 . tcp . 80 }",
        'add element bridge dtfw identities { "dtg1" . 02:00:00:00:00:02 . 10.213.1.3 }',
        "add chain inet dtfw mine { type filter hook input priority -10; policy drop; }",
        "flush table bridge dtfw",
    ],
)
async def test_tampering(firewall: NftFirewall, tampering: str) -> None:
    await firewall.apply(POLICY)
    nft(tampering)
    assert await firewall.drift(POLICY) is Drift.CHANGED
    await firewall.apply(POLICY)
    assert await firewall.drift(POLICY) is Drift.NONE


async def test_what_others_do_in_tables_of_their_own_is_no_drift(firewall: NftFirewall) -> None:
    await firewall.apply(POLICY)
    nft("add table inet theirs; add chain inet theirs c { type filter hook input priority 0; }")
    assert await firewall.drift(POLICY) is Drift.NONE
    await firewall.apply(OTHER)
    await firewall.remove()
    assert "theirs" in nft("list tables")


async def test_counting_is_no_drift(firewall: NftFirewall, restarted: Callable[[], NftFirewall]) -> None:
    await firewall.apply(POLICY)
    nft("reset counters")
    assert await restarted().drift(POLICY) is Drift.NONE


async def test_a_restart_knows_what_is_in_force(
    firewall: NftFirewall, restarted: Callable[[], NftFirewall], tmp_path: Path
) -> None:
    await firewall.apply(POLICY)
    assert await restarted().drift(POLICY) is Drift.NONE
    assert await restarted().drift(OTHER) is Drift.CHANGED
    nft("add rule inet dtfw to_zone accept")
    assert await restarted().drift(POLICY) is Drift.CHANGED
    await firewall.apply(POLICY)
    (tmp_path / "run/firewall.json").unlink()
    assert await restarted().drift(POLICY) is Drift.CHANGED, (
        "not known: applied once more, which harms nobody"
    )


async def test_refused_changes_nothing(firewall: NftFirewall, monkeypatch: pytest.MonkeyPatch) -> None:
    await firewall.apply(POLICY)
    before = canonical(nft_json("list ruleset"))
    monkeypatch.setattr(
        "dsecos_agent.firewall.nft.render", lambda *_: "table inet dtfw { chain x { nonsense } }"
    )
    with pytest.raises(FirewallRefusedError):
        await firewall.apply(OTHER)
    assert canonical(nft_json("list ruleset")) == before


async def test_tampering_wakes_and_our_own_changes_do_not(firewall: NftFirewall) -> None:
    woken = asyncio.Event()
    watch = firewall.subscribe(woken.set)

    async def wakes() -> None:
        await async_until(woken.is_set)
        woken.clear()

    async def nobody_wakes() -> bool:
        await asyncio.sleep(0.4)
        return not woken.is_set()

    for policy in (POLICY, OTHER, POLICY):
        await firewall.apply(policy)
        assert await nobody_wakes()
    nft("add table inet theirs")
    assert await nobody_wakes()
    nft("add rule inet dtfw to_zone accept")
    await wakes()
    await firewall.apply(POLICY)
    assert await nobody_wakes()
    nft("flush ruleset")
    await wakes()
    watch.close()
    nft("add table inet dtfw")
    assert await nobody_wakes()


async def test_foreign_counters_in_our_tables_are_passed_over(firewall: NftFirewall) -> None:
    await firewall.apply(POLICY)
    nft("add counter inet dtfw mine-own")
    assert {direction for _, direction in await firewall.denied()} == set(Direction)


async def test_an_nft_that_dies_is_an_error_and_not_the_end_of_us(
    firewall: NftFirewall, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await firewall.apply(POLICY)
    dying = tmp_path / "nft"
    dying.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin")
    with pytest.raises(FirewallRefusedError, match="signal 11"):
        await firewall.apply(OTHER)
    assert await firewall.denied(), "counters are read all the same"
    monkeypatch.undo()
    await firewall.apply(OTHER)
    assert await firewall.drift(OTHER) is Drift.NONE
