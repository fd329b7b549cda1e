"""The parts of adoption that need no container."""

from pathlib import Path

import pytest
from dsecos_agent.engines.lxc import block, cgroups, counters
from dsecos_agent.engines.lxc.config import HostFacts
from dsecos_agent.engines.model import (
    Limits,
)
from hypothesis import given
from hypothesis import strategies as st

from .contract_hooks import MIB, OWNER
from .foreign import wanted


class TestBlock:
    """The pure part."""

    BODY = block.render(wanted("x"), HostFacts(Path("/a/web"), Path("/a/s"), swap_accounting=True))[0]

    @given(st.text(st.characters(exclude_categories=[])), st.text())
    def test_it_leaves_no_trace(self, own: str, added: str) -> None:
        text = block.join(own, self.BODY)
        assert block.split(text) == block.Parts(own, self.BODY)
        assert block.join(block.split(text).own, self.BODY) == text
        after = block.split(text + added)
        assert after.own.removesuffix(added).removesuffix("\n") == own.removesuffix("\n")
        assert after.own.endswith(added)

    @given(st.text(max_size=40), st.data())
    def test_whatever_is_cut_out_it_is_whole_or_damaged_or_gone(self, own: str, data: st.DataObject) -> None:
        text = block.join(own, self.BODY)
        begin = data.draw(st.integers(len(own), len(text)))
        end = data.draw(st.integers(begin, len(text)))
        parts = block.split(text[:begin] + text[end:])
        assert parts.damaged or parts.body is None or parts.own.rstrip("\n") == own.rstrip("\n")

    def test_two_of_them_are_damage(self) -> None:
        assert block.split(block.join(block.join("", self.BODY), self.BODY)).damaged

    def test_whose_it_is(self) -> None:
        parts = block.split(block.join("# dsecos.io/owner-uid = somebody\n", self.BODY))
        assert (parts.owner_uid, parts.guest) == (OWNER, "/a/web")

    @pytest.mark.parametrize(
        ("text", "unified", "found"),
        [
            (
                "lxc.cgroup2.memory.max = 512M\nlxc.cgroup.memory.limit_in_bytes = 1G",
                True,
                Limits(None, 512 * MIB),
            ),
            (
                "lxc.cgroup2.memory.max = 512M\nlxc.cgroup.memory.limit_in_bytes = 1g",
                False,
                Limits(None, 1 << 30),
            ),
            ("lxc.cgroup2.cpu.max = 50000 25000", True, Limits(2000)),
            ("lxc.cgroup2.cpu.max = max 100000", True, Limits()),
            ("lxc.cgroup.cpu.cfs_quota_us=20000\r\nlxc.cgroup.cpu.cfs_period_us=40000", False, Limits(500)),
            ("lxc.cgroup.cpu.cfs_quota_us = -1", False, Limits()),
            (" lxc.cgroup2.pids.max=7\n#lxc.cgroup2.pids.max = 8", True, Limits(pids=7)),
            ("lxc.cgroup2.pids.max = 7\nlxc.cgroup2.pids.max =", True, Limits()),
        ],
    )
    def test_limits_of_its_own(self, text: str, unified: bool, found: Limits) -> None:
        assert block.limits_of(text, unified=unified) == found


def test_interfaces_are_counted_from_within(tmp_path: Path) -> None:
    (tmp_path / "7/net").mkdir(parents=True)
    for pid, namespace in (("7", "net:[2]"), ("8", "net:[1]"), ("self", "net:[1]")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns/net").symlink_to(namespace)
    lines = (
        "Inter-|",
        " face |",
        "lo: 9 0 0 0 0 0 0 0 9 0",
        "eth0: 10 0 0 0 0 0 0 0 20 0",
        "eth1:1 0 0 0 0 0 0 0 2 0",
    )
    (tmp_path / "7/net/dev").write_text("\n".join(lines))
    assert counters.inside(7, tmp_path) == (11, 22)
    assert counters.inside(8, tmp_path) == (None, None), "it shares the host's"
    assert counters.inside(9, tmp_path) == (None, None)


def test_only_limits_that_are_named_are_set(tmp_path: Path) -> None:
    for name, now in (("cpu.max", "7 100000"), ("memory.swap.max", "max"), ("pids.max", "7")):
        (tmp_path / name).write_text(now)
    group = cgroups.GuestCgroup(dict.fromkeys(("cpu", "memory", "pids"), tmp_path), unified=True)
    cgroups.apply(group, Limits(memory_bytes=MIB), frozenset({"memory"}))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "cpu.max": "7 100000",
        "memory.max": str(MIB),
        "memory.swap.max": "0",
        "pids.max": "7",
    }
