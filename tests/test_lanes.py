"""There is one machine: whatever touches it is in one lane of `make test`."""

from __future__ import annotations

import pytest

from tests.lanes import lane


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("tests/e2e/test_faults.py::test_killed_after_each_action", "machine"),
        ("node-agent/tests/node/test_agent.py::test_stopped[a::b]", "machine"),
        ("node-agent/tests/engines/test_lxc.py::TestLxc::test_mounts", "machine"),
        ("node-agent/tests/engines/proxmox/test_places.py::test_one", "beside"),
        ("node-agent/tests/links/test_transit.py::test_one", "beside"),
        ("tests/network/test_explain_packets.py::test_one", "beside"),
        ("tests/vm/test_vlan.py::test_one", "beside"),
        ("node-agent/tests/engines/test_proxmox.py::TestContainer::test_mounts", "beside"),
        ("operator/tests/operator_tests/api/test_moves.py::TestMoves::test_one", "beside"),
    ],
)
def test_the_lane_of_a_test(test: str, name: str) -> None:
    assert lane(test) == name
