"""Why a container did not start, in liblxc's words."""

import pytest
from dsecos_agent.engines.lxc.log import MOST, cause

LOG = """\
lxc-start web 20261122120321.283 WARN     cgfsng - cgfsng.c:setup:3232 - Invalid argument - Ignoring
lxc-start web 20261122120321.284 ERROR    network - ../src/lxc/network.c:netdev_configure_server_veth:711 - \
No such file or directory - Failed to attach "veth3rSpTU" to bridge "lxcbr0", bridge interface doesn't exist
lxc-start web 20261122120321.304 ERROR    start - start.c:lxc_spawn:1840 - Failed to create the network
"""


def test_the_first_error_is_the_cause_and_bears_no_name_of_the_moment() -> None:
    expected = """Failed to attach its link to bridge "lxcbr0", bridge interface doesn't exist"""
    assert cause(LOG) == f"No such file or directory - {expected}"
    assert cause(LOG.replace("3rSpTU", "AbCdEf")) == cause(LOG)


@pytest.mark.parametrize(
    "log", ["", "lxc-start web 20261122120321.283 WARN cgfsng - a.c:b:1 - no", "nonsense"]
)
def test_a_log_without_an_error_has_no_cause(log: str) -> None:
    assert cause(log) == ""


def test_it_fits_into_a_condition() -> None:
    long = f"lxc-start web 1 ERROR start - a.c:b:1 - \x1b[31m{'x' * 1000}"
    assert len(cause(long)) == MOST
    assert "\x1b" not in cause(long)
