"""The kernel's words on a guest that reached its memory limit, as Linux 6.18 writes them."""

import pytest
from dsecos_agent.guests.memory import SETTLED, MemoryLimits, limit_reached

HEAD = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a3fd,mems_allowed=0,oom_memcg="
TAIL = ",task=node,pid=8322,uid=590209280"


@pytest.mark.parametrize(
    ("groups", "guest"),
    [
        ("/lxc.payload.heal-00000020,task_memcg=/lxc.payload.heal-00000020/docker/a3fd", "heal-00000020"),
        ("/lxc.payload.heal-00000020-1,task_memcg=/lxc.payload.heal-00000020-1/x", "heal-00000020"),
        ("/system.slice/lxc.payload.shop-1f2e3d4c,task_memcg=/x", "shop-1f2e3d4c"),
        ("/lxc.payload.heal-00000020/docker/a3fd,task_memcg=/lxc.payload.heal-00000020/docker/a3fd", None),
        ("/user.slice,task_memcg=/lxc.payload.heal-00000020", None),
    ],
)
def test_whose_limit_was_reached(groups: str, guest: str | None) -> None:
    assert limit_reached(f"4,1,1,-;{HEAD}{groups}{TAIL}") == guest


def test_other_records() -> None:
    assert limit_reached("6,1234,5678,-;eth0: link is up") is None


def test_a_kill_is_overcome_by_services_that_stay_healthy() -> None:
    """Docker says `running` for a moment after the kernel killed: that moment proves nothing."""
    now = 100.0
    limits = MemoryLimits(clock=lambda: now)
    record = f"4,1,1,-;{HEAD}/lxc.payload.shop-1f2e3d4c,task_memcg=/x{TAIL}"
    assert limits.note(record) == "shop-1f2e3d4c"
    limits.seen_healthy("shop-1f2e3d4c")
    assert limits.reached("shop-1f2e3d4c"), "not yet"
    now += SETTLED
    limits.note(record)
    limits.seen_healthy("shop-1f2e3d4c")
    assert limits.reached("shop-1f2e3d4c"), "killed again"
    now += SETTLED
    limits.seen_healthy("shop-1f2e3d4c")
    assert not limits.reached("shop-1f2e3d4c")
    assert not limits.reached("other-00000001")
