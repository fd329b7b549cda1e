"""An engine that cannot be used is told by the Node, tried again, and keeps nothing else from going on."""

from collections.abc import Iterator

import pytest

from .proxmox import SECRET, ProxmoxNode, proxmox_node


@pytest.fixture(scope="module")
def pve() -> Iterator[ProxmoxNode]:
    """A node whose Secret is not there yet."""
    with proxmox_node(register=False) as node:
        node.register(secret=False)
        node.start()
        yield node


def test_without_its_token_the_engine_waits_for_it(pve: ProxmoxNode) -> None:
    found = pve.wait_engine("False", "EngineNotConfigured")
    assert SECRET in found["message"]
    pve.apply(pve.guest("early-00000080", 30))
    pve.wait_condition("early-00000080", "GuestReady", "Unknown", "EngineNotConfigured")
    pve.apply(pve.attachment())
    pve.apply(pve.secret("dsecos@pve!agent=00000000-0000-0000-0000-000000000000"))
    pve.wait_engine("False", "EngineDenied")
    pve.apply(pve.secret())
    pve.wait_engine()
    pve.wait_ready("early-00000080")
    pve.delete("early-00000080")
    assert pve.token not in pve.log.read_text()
    assert pve.token not in (pve.settings.state / "engine.json").read_text()


def test_another_certificate_is_not_trusted(pve: ProxmoxNode) -> None:
    pve.simulator.renew_certificate()
    pve.stop()
    pve.start()
    pve.wait_engine("False", "CertificateChanged")
    pve.register()
    pve.wait_engine()
