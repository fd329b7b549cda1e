"""Where a guest asks for names."""

from dataclasses import replace

from dsecos_agent.guests import actions as do
from dsecos_agent.guests.plan import plan

from .model import Model
from .samples import NODE, spec, wish

SERVING = replace(NODE, names=True)
RESOLVER = "nameserver 10.20.0.1\nsearch acme.dsecos.internal\noptions ndots:2\n"


def test_it_asks_its_gateway_in_the_domain_of_its_namespace() -> None:
    wanted = wish(node=SERVING)
    assert wanted.resolver == RESOLVER
    prepare = next(each for each in plan(wanted, Model().seen(wanted)) if isinstance(each, do.Prepare))
    assert (prepare.gateway, prepare.resolver) == ("10.20.0.1", RESOLVER)


def test_it_asks_in_both_families() -> None:
    network = {**spec()["network"], "address6": "fd00:20::2", "gateway6": "fd00:20::1"}
    found = wish(node=SERVING, network=network).resolver
    assert found.startswith("nameserver 10.20.0.1\nnameserver fd00:20::1\nsearch ")


def test_it_keeps_its_own_where_no_names_are_served_or_its_network_is_not_ours() -> None:
    assert wish().resolver == ""
    assert wish(node=SERVING, adopt="104").resolver == ""
