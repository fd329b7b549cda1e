"""A node that boots alone has its zones before its guests, as they were."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, cast

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.firewall.model import Policy
from dsecos_agent.guests.lives import Lives
from dsecos_agent.guests.record import Record, Records
from dsecos_agent.links.protocol import Bridge, Transit
from dsecos_agent.node.boot import Boot
from dsecos_agent.nodefirewall.memory import LastKnown

LOCAL = Bridge("dtz00000001", "owner", IPv4Interface("10.20.0.1/24"))
BOTH = Bridge("dtz00000002", "owner", IPv4Interface("10.21.0.1/24"), 1450, IPv6Interface("fd00:21::1/64"))
TRANSIT = Transit("dtv00000002", "owner", 7, IPv4Address("192.0.2.1"), "02:00:00:00:00:01", 1450)


class Calls:
    """Links, firewall and engine in one, which remember the order of what they are asked."""

    def __init__(self, known: LastKnown, failing: str = "") -> None:
        self.last_known = known
        self.asked: list[str] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **_: Any) -> Any:
            text = f"{name} {getattr(arguments[0], 'name', arguments[0])}" if arguments else name
            self.asked.append(text)
            if text == self._failing:
                raise AdapterError("as told")

        return call


async def booted(known: LastKnown, home: Path, failing: str = "") -> list[str]:
    records = Records(home)
    records.put("shop", Record("owner", autostart=True, adopted=True))
    calls = Calls(known, failing)
    both = cast("Any", calls)
    boot = Boot(both, both, both, records, Lives(records, "boot-1"), parallel=1, sleep=nothing)
    await boot.run(lambda: False, 0.0, nothing)
    return calls.asked


async def nothing(*_: object) -> None:
    pass


async def test_rules_come_first_then_the_zones_links_then_the_guests(tmp_path: Path) -> None:
    known = LastKnown(Policy(), (LOCAL, BOTH), (TRANSIT,))
    assert await booted(known, tmp_path) == [
        "restore",
        "ensure_forwarding",
        "ensure_forwarding6",
        "ensure_bridge dtz00000001",
        "ensure_bridge dtz00000002",
        "ensure_transit dtv00000002",
        "get shop",
    ]


async def test_a_node_without_ipv6_zones_does_not_become_an_ipv6_router(tmp_path: Path) -> None:
    assert "ensure_forwarding6" not in await booted(LastKnown(Policy(), (LOCAL,)), tmp_path)


async def test_guests_start_also_if_other_nodes_cannot_be_reached(tmp_path: Path) -> None:
    known = LastKnown(Policy(), (BOTH,), (TRANSIT,))
    assert "get shop" in await booted(known, tmp_path, failing="ensure_transit dtv00000002")
    assert "get shop" not in await booted(known, tmp_path, failing="ensure_bridge dtz00000002")
