"""The kernel's rules are kept equal to the wish, and what others changed is told once."""

from dataclasses import replace
from pathlib import Path

import pytest
from dsecos_agent.firewall.model import Policy
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.links.protocol import Bridge, Transit
from dsecos_agent.nodefirewall.enforcer import Enforcer
from dsecos_agent.nodefirewall.render import Rendered

from ..firewall.conftest import firewall, network  # noqa: F401, TID252 - fixtures
from ..firewall.test_drift import POLICY, nft  # noqa: TID252


class Wish:
    """What is wanted now."""

    policy = POLICY

    def rendered(self, _: Policy) -> Rendered:
        return Rendered(self.policy)

    def bridges(self) -> tuple[Bridge, ...]:
        return ()

    def transits(self) -> tuple[Transit, ...]:
        return ()


@pytest.fixture
def enforcer(firewall: NftFirewall, tmp_path: Path) -> Enforcer:  # noqa: F811 - the fixture
    return Enforcer(firewall, Wish(), tmp_path / "network.json")


async def test_tampering_is_put_back_and_told_once(enforcer: Enforcer) -> None:
    assert await enforcer.sync()
    assert enforcer.repaired() == []
    nft("insert rule inet dtfw forward accept")
    assert await enforcer.sync(verify=True)
    assert enforcer.repaired() == ["chain inet forward: 1 rule more"]
    assert enforcer.repaired() == []
    assert not await enforcer.sync(verify=True)


async def test_an_edited_wish_is_no_repair(enforcer: Enforcer, monkeypatch: pytest.MonkeyPatch) -> None:
    await enforcer.sync()
    monkeypatch.setattr(Wish, "policy", replace(POLICY, registry_port=5001))
    assert await enforcer.sync(verify=True)
    assert enforcer.repaired() == []
