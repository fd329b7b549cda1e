"""A zone's name server over time."""

from dsecos_agent.zones.naming import bridge_name, bridge_of
from dsecos_agent.zones.serving import AGAIN, SOON, Served, Serving
from dsecos_api import ZoneAttachment
from dsecos_api.conditions import Reason

from ..guests.samples import ZONE_UID, attachment  # noqa: TID252
from .servers import Servers

BRIDGE = bridge_name("dt", ZONE_UID)
SHOP = {"namespace": "acme", "stack": "shop", "addresses": ["10.20.0.2"]}


class Node:
    """Its time is ours."""

    def __init__(self, *, on: bool = True) -> None:
        self.servers = Servers()
        self.now = 0.0
        self.serving = Serving(self.servers, "dt", on=on, clock=lambda: self.now)
        self.woken: list[str] = []
        self.serving.subscribe(self.woken.append)

    async def serve(self, zone: ZoneAttachment | None = None) -> Served | None:
        zone = zone or attachment()
        return await self.serving.serve(zone, bridge_of("dt", zone))


async def test_an_unchanged_zone_is_read_once() -> None:
    node = Node()
    for _ in range(3):
        assert await node.serve() == Served()
    first, *more = node.servers.asked
    assert all(each is first for each in more)


async def test_the_names_of_the_attachment_that_is_there_count() -> None:
    node = Node()
    await node.serve()
    again = attachment(names=[SHOP])
    await node.serve(again.model_copy(update={"metadata": again.metadata.model_copy(update={"uid": "new"})}))
    assert [list(each.hosts) for each in node.servers.asked] == [[], ["shop.acme.dsecos.internal"]]


async def test_a_server_that_ended_wakes_its_zone_and_is_told_when_it_is_back() -> None:
    node = Node()
    await node.serve()
    node.servers.kill(BRIDGE)
    assert node.woken == [BRIDGE]
    assert await node.serve() == Served(repaired=f"the name server of {BRIDGE} had ended")
    assert await node.serve() == Served()


async def test_one_that_ends_again_and_again_is_started_now_and_then() -> None:
    node = Node()
    await node.serve()
    node.servers.kill(BRIDGE)
    await node.serve()
    node.now = 1.0
    node.servers.kill(BRIDGE)
    served = await node.serve()
    assert served is not None
    assert served.reason is Reason.NAME_SERVER_FAILED
    assert served.again == SOON - 1
    assert node.servers.running == set()
    node.now = SOON
    assert await node.serve() == Served(repaired=f"the name server of {BRIDGE} had ended")


async def test_what_fails_is_told_and_tried_again() -> None:
    node = Node()
    node.servers.broken = "dnsmasq is not there: install dnsmasq-base"
    assert await node.serve() == Served(Reason.NAME_SERVER_FAILED, node.servers.broken, again=AGAIN)
    node.servers.broken = ""
    assert await node.serve() == Served()


async def test_an_address_that_is_none_is_told() -> None:
    served = await Node().serve(attachment(names=[{**SHOP, "addresses": ["nowhere"]}]))
    assert served is not None
    assert served.reason is Reason.NAME_SERVER_FAILED


async def test_servers_without_a_zone_are_ended() -> None:
    node = Node()
    await node.serve()
    node.servers.running.add("dtzffffffff")
    await node.serving.sweep(lambda: [attachment()])
    assert node.servers.running == {BRIDGE}
    await node.serving.end(ZONE_UID)
    assert node.servers.running == set()


async def test_a_node_that_serves_no_names_ends_what_is_left_but_of_paused_zones() -> None:
    node = Node(on=False)
    assert await node.serve() is None
    assert node.servers.asked == []
    node.servers.running |= {BRIDGE}
    await node.serving.sweep(lambda: [attachment(paused=True)])
    assert node.servers.running == {BRIDGE}
    await node.serving.sweep(lambda: [attachment()])
    assert node.servers.running == set()
