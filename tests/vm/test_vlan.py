"""Zones by 802.1Q: this machine's kernel may lack it, Debian's has it."""

from __future__ import annotations

import pytest

from tests.vm.inside import assert_passed, run_tests
from tests.vm.machine import Machine

FOLDERS = ("node-agent/tests/links", "node-agent/tests/firewall")


@pytest.mark.timeout(2400)
def test_what_holds_for_vxlan_holds_for_vlan(machine: Machine) -> None:
    """Their cases for `vlan` are collected only where there is 802.1Q."""
    found = run_tests(machine, "-k", "vlan", *FOLDERS, within=700)
    assert_passed(found)
    for folder in FOLDERS:
        assert any(each.test.startswith(f"{folder}/") for each in found), f"no case in {folder}"
