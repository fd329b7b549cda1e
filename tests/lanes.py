"""The two lanes in which `make test` runs the tests beside each other.

What touches the machine itself (containers, mounts, links, nftables, `make up`) is one lane: there is one
machine. The other lane is what needs processes, API servers and network namespaces of its own alone.
"""

from __future__ import annotations

from pathlib import PurePath

from xdist.scheduler import LoadScopeScheduling

ON_THE_MACHINE = ("hack", "image-build", "node-agent", "tests/e2e")
"""Folders of the lane of the machine ..."""
BESIDE_IT = (
    "node-agent/tests/engines/proxmox",
    "node-agent/tests/engines/test_proxmox.py",
    "node-agent/tests/engines/test_schedules_proxmox.py",
    "node-agent/tests/firewall",
    "node-agent/tests/guests",
    "node-agent/tests/hostfirewall",
    "node-agent/tests/links",
    "node-agent/tests/names",
    "node-agent/tests/uplinks",
)
"""... and what in them does not touch it."""


def lane(test: str) -> str:
    """By the test's id, which begins with its file's path in the checkout. Pure."""
    path = PurePath(test.partition("::")[0])

    def below(folders: tuple[str, ...]) -> bool:
        return any(path.is_relative_to(folder) for folder in folders)

    return "machine" if below(ON_THE_MACHINE) and not below(BESIDE_IT) else "beside"


class Lanes(LoadScopeScheduling):
    """One worker a lane, each in the order of its tests.

    In place of `--dist loadgroup`: with pytest 9.2, xdist 3.8 forgets the groups.
    """

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)
