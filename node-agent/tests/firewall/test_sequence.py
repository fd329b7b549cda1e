"""Policy after policy, by elements or as a whole: each time the kernel ends with what the whole makes."""

from dsecos_agent.firewall.model import Policy
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.firewall.render import render
from dsecos_agent.firewall.validate import Names
from hypothesis import HealthCheck, given, settings

from ..links.netns import own_network  # noqa: TID252 - tests have no package to name
from .kernel import listing, load
from .nodes import here
from .test_oracle import small_policies

NAMES = Names("dtfw", "dt")


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(policy=small_policies())
async def test_it_is_as_the_whole_makes_it(firewall: NftFirewall, policy: Policy) -> None:
    await firewall.apply(here(policy))
    found = listing(NAMES.instance)
    with own_network():
        load(render(here(policy), NAMES))
        assert found == listing(NAMES.instance)
