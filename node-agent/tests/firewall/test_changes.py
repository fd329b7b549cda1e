"""What somebody changed in our tables, in words."""

import subprocess
from dataclasses import replace

import pytest
from dsecos_agent.firewall.changes import told
from dsecos_agent.firewall.model import Drift
from dsecos_agent.firewall.nft import NftFirewall

from .test_drift import OTHER, POLICY, nft


@pytest.mark.parametrize(
    ("tampering", "text"),
    [
        ("insert rule inet dtfw forward accept", "chain inet forward: 1 rule more"),
        ("flush chain inet dtfw to_zone", "chain inet to_zone: 5 rules missing"),
        (
            "delete element inet dtfw exposed { 10.213.1.2 . tcp . 80 }",
            "set inet exposed: 1 element missing",
        ),
        (
            "add element inet dtfw exposed { 10.213.1.2 . tcp . 22, 10.213.1.2 . tcp . 23 }",
            "set inet exposed: 2 elements more",
        ),
        ("delete table bridge dtfw", "table bridge was deleted"),
        ("flush ruleset", "table bridge was deleted, table inet was deleted"),
        ("add chain inet dtfw mine", "chain inet mine is new"),
        ("add set inet dtfw mine { type ipv4_addr; }", "set inet mine is new"),
        ("delete chain inet dtfw leaving", "chain inet leaving was deleted"),
        ("add chain inet dtfw forward { policy drop; }", "chain inet forward: made anew as another"),
    ],
)
async def test_what_was_changed_is_told(firewall: NftFirewall, tampering: str, text: str) -> None:
    await firewall.apply(POLICY)
    nft(tampering)
    assert await firewall.drift(POLICY) is not Drift.NONE
    assert told(firewall.changes()) == text
    await firewall.apply(POLICY)
    assert await firewall.drift(POLICY) is Drift.NONE
    assert firewall.changes() == []


async def test_rules_in_another_order(firewall: NftFirewall) -> None:
    await firewall.apply(POLICY)
    reorder("icmp type redirect drop")
    assert await firewall.drift(POLICY) is Drift.CHANGED
    assert firewall.changes() == ["chain inet output: rules in another order"]


async def test_many_changes_are_counted(firewall: NftFirewall) -> None:
    await firewall.apply(POLICY)
    nft("flush table inet dtfw")
    assert await firewall.drift(POLICY) is Drift.CHANGED
    assert len(firewall.changes()) > 3
    assert told(firewall.changes()).endswith(f", and {len(firewall.changes()) - 3} more")


async def test_another_wish_is_nobodys_change(firewall: NftFirewall) -> None:
    await firewall.apply(POLICY)
    assert await firewall.drift(OTHER) is Drift.CHANGED
    assert firewall.changes() == []
    await firewall.apply(replace(POLICY, guests=()))
    assert await firewall.drift(replace(POLICY, guests=())) is Drift.NONE


def reorder(rule: str) -> None:
    listed = subprocess.run(
        ["nft", "-a", "list", "chain", "inet", "dtfw", "output"], check=True, capture_output=True, text=True
    ).stdout
    (line,) = [line for line in listed.splitlines() if rule in line]
    nft(f"delete rule inet dtfw output handle {line.rsplit(maxsplit=1)[1]}")
    nft(f"insert rule inet dtfw output {rule}")
