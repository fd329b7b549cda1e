"""What was last in force is read again as it was written, also by a newer agent."""

import json
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

from dsecos_agent.links.protocol import Bridge, Remote, Transit
from dsecos_agent.nodefirewall.memory import LastKnown, load, save

BRIDGE = Bridge(
    "dtz00000001",
    "owner",
    IPv4Interface("10.20.0.1/24"),
    1450,
    IPv6Interface("fd00:20::1/64"),
    "02:00:00:00:00:01",
)
TRANSIT = Transit(
    "dtv00000001",
    "owner",
    4213,
    IPv4Address("192.0.2.1"),
    "02:00:c0:00:02:01",
    1450,
    (
        Remote(
            IPv4Address("192.0.2.2"),
            "02:00:c0:00:02:02",
            (IPv4Address("10.20.0.20"), IPv6Address("fd00:20::20")),
        ),
    ),
)


def test_links_come_back_as_they_were(tmp_path: Path) -> None:
    known = LastKnown(bridges=(BRIDGE,), transits=(TRANSIT,))
    save(tmp_path / "network.json", known)
    assert load(tmp_path / "network.json") == known


def test_a_file_of_an_agent_that_knew_no_other_nodes_is_read(tmp_path: Path) -> None:
    bridge = {"name": "dtz00000001", "owner_uid": "owner", "gateway": "10.20.0.1/24", "mtu": 1500}
    path = tmp_path / "network.json"
    path.write_text(
        json.dumps({"policy": {"zones": [], "guests": [], "registry_port": None}, "bridges": [bridge]})
    )
    assert load(path) == LastKnown(bridges=(Bridge("dtz00000001", "owner", IPv4Interface("10.20.0.1/24")),))


def test_one_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text('{"bridges": [{')
    assert load(tmp_path / "network.json") is None
    assert load(tmp_path / "missing.json") is None
