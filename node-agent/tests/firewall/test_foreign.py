"""What others forward on the node is theirs; the administrator can close it as docs/security.md says."""

import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dsecos_agent.firewall.model import EgressMode, ExposedPort
from dsecos_agent.firewall.nft import NftFirewall

from ..links.netns import Namespace, ip  # noqa: TID252 - tests have no package to name
from .test_packets import ONE, listen, policy, put
from .world import NODE, OUTSIDE, PATIENT, Peer, World

SECURITY = Path(__file__).parents[3] / "docs" / "security.md"


@pytest.fixture
async def beyond(world: World) -> AsyncIterator[Peer]:
    """Whoever is behind another link of the node, 198.51.100.2, and sends everything to the node."""
    inside = Namespace()
    inside.veth("other0")
    ip("addr add 198.51.100.1/24 dev other0")
    ip("link set other0 up")
    inside.ip("addr add 198.51.100.2/24 dev eth0")
    inside.ip("route add default via 198.51.100.1")
    world.peers["outside"].namespace.ip(f"route add 198.51.100.0/24 via {NODE}")
    peer = Peer(inside)
    await peer.start()
    await peer.serve(80)
    yield peer
    await peer.close()


@pytest.fixture
async def bridged(world: World) -> AsyncIterator[Peer]:
    """Two guests of somebody else on a bridge of theirs, whose frames pass the inet hooks: so it is with the
    firewall of Proxmox VE, or Docker.
    """
    put("bridge/bridge-nf-call-iptables", "1")
    ip("link add theirs0 type bridge")
    ip("link set theirs0 up")
    peers = []
    for number in (1, 2):
        inside = Namespace()
        inside.veth(f"their{number}")
        ip(f"link set their{number} master theirs0 up")
        inside.ip(f"addr add 203.0.113.{number}/24 dev eth0")
        peers.append(Peer(inside))
        await peers[-1].start()
    await peers[1].serve(80)
    yield peers[0]
    for peer in peers:
        await peer.close()


def documented() -> str:
    """The table that closes the way from link to link."""
    found = re.search(r"```nft\n(.*?)```", SECURITY.read_text(), re.DOTALL)
    assert found is not None
    return found[1].replace("eth0", "out0").replace("eth1", "other0")


async def test_what_somebody_routes_through_the_node_passes(
    world: World, beyond: Peer, firewall: NftFirewall
) -> None:
    await listen(world)
    await firewall.apply(policy())
    assert await world.peers["outside"].connect("198.51.100.2", 80, limit=PATIENT) == f"saw {OUTSIDE}"
    assert await beyond.connect(OUTSIDE, 80, limit=PATIENT) == "saw 198.51.100.2"
    assert await beyond.connect(ONE, 80) == "silence", "a zone is no foreign link"


async def test_frames_on_somebody_elses_bridge_pass(bridged: Peer, firewall: NftFirewall) -> None:
    await firewall.apply(policy())
    assert await bridged.connect("203.0.113.2", 80, limit=PATIENT) == "saw 203.0.113.1"


async def test_the_documented_table_closes_the_way_between_two_links_and_nothing_else(
    world: World, beyond: Peer, bridged: Peer, firewall: NftFirewall
) -> None:
    await listen(world)
    await firewall.apply(policy({"one": (ExposedPort(80, host_port=8080),)}, EgressMode.NAT))
    nft(documented())
    outside, one = world.peers["outside"], world.peers["one"]
    assert await outside.connect("198.51.100.2", 80) == "silence"
    assert await beyond.connect(OUTSIDE, 80) == "silence"
    for link in (outside, beyond):
        seen = await link.connect(NODE, 8080, limit=PATIENT)
        assert seen.startswith("saw "), "what is exposed stays so at every link"
    assert await one.connect(OUTSIDE, 80, limit=PATIENT) == f"saw {NODE}"
    assert await one.connect("198.51.100.2", 80, limit=PATIENT) == "saw 198.51.100.1"
    assert await bridged.connect("203.0.113.2", 80, limit=PATIENT) == "saw 203.0.113.1"


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)
