"""Settings of all tests, and the two lanes in which `make test` runs them beside each other.

What touches the machine itself (containers, links, nftables, `make up`) is one lane: there is one machine.
The other lane is what needs processes and API servers of its own alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

CHECKOUT = Path(__file__).parent
ON_THE_MACHINE = ("hack", "image-build", "node-agent", "tests/e2e")
"""Folders of the lane of the machine ..."""
BESIDE_IT = (
    "node-agent/tests/engines/proxmox",
    "node-agent/tests/engines/test_proxmox.py",
    "node-agent/tests/engines/test_schedules_proxmox.py",
    "node-agent/tests/guests",
)
"""... and what in them does not touch it."""

# How long one example takes says something about the machine, not about the code.
settings.register_profile("dsecos", deadline=None)
settings.load_profile("dsecos")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its lane."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(lane(item.path.relative_to(CHECKOUT))))


def lane(path: Path) -> str:
    """By the test's file, from the checkout. Pure."""

    def below(folders: tuple[str, ...]) -> bool:
        return any(path.is_relative_to(folder) for folder in folders)

    return "machine" if below(ON_THE_MACHINE) and not below(BESIDE_IT) else "beside"
