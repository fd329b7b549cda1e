"""`dsecos explain`, its pure part: which rule decides, and what would have to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from dsecos_api import Guest, NetworkZone, Node, Stack
from dsecos_cli.errors import CliError, ExitCode
from dsecos_cli.explaining.ends import resolve
from dsecos_cli.explaining.judge import judge
from dsecos_cli.explaining.model import NotJudgedError, Port, Verdict
from dsecos_cli.explaining.objects import Objects
from dsecos_cli.explaining.render import to_dict
from dsecos_cli.explaining.texts import flow
from hypothesis import given
from hypothesis import strategies as st

from console.tests.objects import Object, api_object, condition, guest_object, stack_object

VXLAN = {"type": "vxlan"}
DB = {"namespace": "shop", "zone": "db"}
WEB = {"namespace": "acme", "zone": "web"}
POSTGRES = {"port": 5432, "protocol": "TCP"}


def zone(path: str, number: int, *, id_: int | None = None, **spec: Any) -> Object:
    namespace, name = path.split("/")
    spec = {"cidrs": [f"10.{number}.0.0/24", f"fd00:{number}::/64"], "encapsulation": VXLAN, **spec}
    raw = api_object("NetworkZone", name, spec, namespace=namespace, generation=1)
    gateways = {"gateway": f"10.{number}.0.1", "gateway6": f"fd00:{number}::1"}
    nodes = [{"name": "n1"}, {"name": "n2"}]
    return {**raw, "status": {"observedGeneration": 1, "id": id_ or number, "nodes": nodes, **gateways}}


def stack(path: str, zone_: str, address: str, node: str, **spec: Any) -> Object:
    namespace, name = path.split("/")
    raw = stack_object(name, zone=zone_, **spec)
    raw["metadata"]["namespace"] = namespace
    six = f"fd00:{address.split('.')[1]}::{address.rpartition('.')[2]}"
    return {**raw, "status": {"node": node, "address": address, "address6": six, "state": "Running"}}


def node(name: str, address: str) -> Object:
    raw = api_object("Node", name, {"engine": {"type": "lxc"}})
    return {**raw, "status": {"addresses": {"management": address, "tunnel": address}}}


class Cloud:
    """Two tenants: acme/web with front (n1) and back (n2), shop/db with pg (n2)."""

    def __init__(self) -> None:
        self.web = zone("acme/web", 1)
        self.db = zone("shop/db", 2)
        self.front = stack("acme/front", "web", "10.1.0.2", "n1")
        self.back = stack("acme/back", "web", "10.1.0.3", "n2")
        self.pg = stack("shop/pg", "db", "10.2.0.2", "n2")
        self.nodes = [node("n1", "192.0.2.1"), node("n2", "192.0.2.2")]
        self.guests: list[Object] = []

    @property
    def objects(self) -> Objects:
        return Objects(
            [NetworkZone.parse(raw) for raw in (self.web, self.db)],
            [Stack.parse(raw) for raw in (self.front, self.back, self.pg)],
            [Guest.parse(raw) for raw in self.guests],
            [Node.parse(raw) for raw in self.nodes],
        )

    def ask(self, sender: str, receiver: str, port: str = "5432") -> Verdict:
        objects = self.objects
        ends = (resolve(objects, each, "acme") for each in (sender, receiver))
        return judge(objects, *ends, Port.parse(port))

    def connect(self, *ports: Object, **more: Any) -> None:
        """Web's guests may connect to db's."""
        self.web["spec"]["peers"] = [{**DB, "outboundOnly": True}]
        self.db["spec"]["peers"] = [{**WEB, **({"ports": list(ports)} if ports else {}), **more}]


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def told(verdict: Verdict) -> str:
    assert verdict.united
    return f"{'Allowed' if verdict.allowed else 'Denied'}: {verdict.judgements[0].decides}"


def changes(verdict: Verdict) -> list[tuple[str, str, Any]]:
    found = verdict.judgements[0].changes
    return [(each.subject, each.field, yaml.safe_load(each.text)) for each in found]


def test_two_zones_that_name_each_other_are_connected_at_the_ports_of_the_receiver(cloud: Cloud) -> None:
    cloud.connect(POSTGRES)
    verdict = cloud.ask("front", "shop/pg")
    rule = "Allowed: NetworkZone shop/db spec.peers[0] names acme/web with TCP 5432, and that names it back"
    assert told(verdict) == rule
    assert [each.version for each in verdict.judgements] == [4, 6]
    assert [f"{step}" for step in verdict.judgements[0].steps] == [
        "Stack acme/front has 10.1.0.2 in NetworkZone acme/web, on node n1",
        "NetworkZone acme/web spec.peers[0] names shop/db",
        rule.removeprefix("Allowed: "),
        "NetworkZone shop/db status.id is VXLAN 2, by which n1 sends it to n2",
        "Stack shop/pg has 10.2.0.2 in NetworkZone shop/db, on node n2",
    ]
    assert not cloud.ask("front", "shop/pg", "5432/udp").allowed
    assert not cloud.ask("front", "shop/pg", "icmp").allowed
    assert told(cloud.ask("shop/pg", "front")) == (
        "Denied: NetworkZone acme/web spec.peers[0] names shop/db with outboundOnly: nothing may connect from"
        " there"
    )


def test_without_ports_everything_passes(cloud: Cloud) -> None:
    cloud.connect()
    for port in ("1", "53/udp", "icmp"):
        assert cloud.ask("front", "shop/pg", port).allowed


def test_a_consent_of_one_side_is_none_and_the_answer_names_what_the_other_has_to_write(cloud: Cloud) -> None:
    cloud.db["spec"]["peers"] = [WEB]
    verdict = cloud.ask("front", "shop/pg")
    assert told(verdict) == "Denied: NetworkZone acme/web spec.peers does not name shop/db"
    assert changes(verdict) == [("NetworkZone acme/web", "spec.peers", [{**DB, "outboundOnly": True}])]


def test_what_the_answer_says_to_change_is_enough(cloud: Cloud) -> None:
    verdict = cloud.ask("front", "shop/pg")
    assert [each[0] for each in changes(verdict)] == ["NetworkZone acme/web", "NetworkZone shop/db"]
    for zone_, (_, _, entries) in zip((cloud.web, cloud.db), changes(verdict), strict=True):
        zone_["spec"]["peers"] = entries
    assert cloud.ask("front", "shop/pg").allowed
    assert not cloud.ask("front", "shop/pg", "22").allowed


def test_another_port_is_added_to_the_entry_that_is_there(cloud: Cloud) -> None:
    cloud.connect(POSTGRES)
    verdict = cloud.ask("front", "shop/pg", "22")
    assert told(verdict) == (
        "Denied: NetworkZone shop/db spec.peers[0] names acme/web with TCP 5432, not with TCP 22"
    )
    assert changes(verdict) == [
        ("NetworkZone shop/db", "spec.peers[0].ports", [{"port": 22, "protocol": "TCP"}])
    ]


def test_what_lets_an_echo_request_in_lets_in_everything_and_the_answer_says_so(cloud: Cloud) -> None:
    cloud.connect(POSTGRES)
    entry, warning = cloud.ask("front", "shop/pg", "icmp").judgements[0].changes
    assert (yaml.safe_load(entry.text), entry.field) == (WEB, "spec.peers[0]")
    assert warning.text == "This lets every port and protocol in: ICMP cannot be listed."


def test_guests_of_one_zone_reach_each_other_if_it_names_itself(cloud: Cloud) -> None:
    verdict = cloud.ask("front", "back")
    assert told(verdict).startswith("Denied: NetworkZone acme/web spec.peers does not name itself")
    cloud.web["spec"]["peers"] = yaml.safe_load(verdict.judgements[0].changes[0].text)
    assert cloud.ask("front", "back").allowed
    assert cloud.ask("front", "front", "1").allowed, "to itself nothing leaves the guest"


@pytest.mark.parametrize(
    ("web", "db", "carrier"), [("vxlan", "vlan", "802.1Q id 2"), ("vlan", "vxlan", "VXLAN 2")]
)
def test_between_nodes_it_goes_by_the_encapsulation_of_the_receivers_zone(
    cloud: Cloud, web: str, db: str, carrier: str
) -> None:
    cloud.connect(POSTGRES)
    cloud.web["spec"]["encapsulation"], cloud.db["spec"]["encapsulation"] = {"type": web}, {"type": db}
    verdict = cloud.ask("front", "shop/pg")
    assert verdict.allowed
    step = f"NetworkZone shop/db status.id is {carrier}, by which n1 sends it to n2"
    assert step in [f"{each}" for each in verdict.judgements[0].steps]


@pytest.mark.parametrize("which", ["web", "db"])
def test_between_nodes_both_zones_span_them(cloud: Cloud, which: str) -> None:
    cloud.connect()
    getattr(cloud, which)["spec"]["encapsulation"] = {"type": "local"}
    assert "spec.encapsulation is local" in told(cloud.ask("front", "shop/pg"))
    assert cloud.ask("back", "shop/pg").allowed, "on one node it is no matter"


def test_a_zone_without_an_id_or_not_on_a_node_is_named_with_its_reason(cloud: Cloud) -> None:
    cloud.connect()
    del cloud.db["status"]["id"]
    cloud.db["status"]["conditions"] = [condition("Ready", "False", "NodeIncapable", "n1 lacks zone/vxlan")]
    assert told(cloud.ask("front", "shop/pg")) == (
        "Denied: NetworkZone shop/db status.id is not there yet (NodeIncapable: n1 lacks zone/vxlan)"
    )
    cloud.db["status"] |= {"id": 2, "nodes": [{"name": "n2"}]}
    assert "status.nodes does not have n1 yet (NodeIncapable" in told(cloud.ask("front", "shop/pg"))
    del cloud.web["status"]["gateway"]
    assert "acme/web status.gateway is not there" in told(cloud.ask("front", "shop/pg"))


def test_a_zone_that_goes_agrees_with_nobody(cloud: Cloud) -> None:
    cloud.connect()
    cloud.db["metadata"]["deletionTimestamp"] = "2026-11-20T10:00:00Z"
    assert told(cloud.ask("front", "shop/pg")).startswith("Denied: NetworkZone shop/db metadata.deletion")
    cloud.web["metadata"]["deletionTimestamp"] = "2026-11-20T10:00:00Z"
    cloud.web["spec"]["peers"] = [WEB]
    assert cloud.ask("front", "back").allowed, "its own guests are there until then"


EGRESS = [
    (None, "1.1.1.1", "80", False, "spec.egress is unset"),
    ({"mode": "Deny"}, "1.1.1.1", "80", False, "spec.egress.mode is Deny"),
    ({"mode": "NAT"}, "1.1.1.1", "icmp", True, "spec.egress.to is empty: everywhere outside"),
    ({"mode": "Allow"}, "2606:4700::1111", "53/udp", True, "spec.egress.to is empty"),
    ({"mode": "NAT", "to": [{"cidr": "1.1.1.0/24"}]}, "1.1.1.1", "icmp", True, "spec.egress.to[0] lets"),
    ({"mode": "NAT", "to": [{"cidr": "1.1.1.0/24"}]}, "1.1.2.1", "80", False, "does not list 1.1.2.1"),
    ({"mode": "NAT", "to": [{"cidr": "1.1.1.0/24"}]}, "2606:4700::1111", "80", False, "does not list"),
    ({"mode": "NAT"}, "169.254.169.254", "80", False, "169.254.169.254 is link-local"),
    ({"mode": "NAT"}, "fd00:ec2::254", "80", False, "fd00:ec2::254 is cloud metadata"),
    ({"mode": "NAT"}, "ff02::1", "icmp", False, "ff02::1 is multicast"),
    ({"mode": "NAT"}, "192.0.2.2", "22", False, "Node n2 status.addresses has 192.0.2.2"),
    ({"mode": "NAT"}, "node/n1", "22", False, "Node n1 status.addresses has 192.0.2.1"),
    ({"mode": "NAT"}, "10.2.0.77", "80", False, "NetworkZone shop/db spec.cidrs holds 10.2.0.77"),
    (None, "10.1.0.1", "icmp", True, "gateway 10.1.0.1 of NetworkZone acme/web answers"),
    (None, "10.1.0.1", "5001", True, "registry"),
    (None, "10.1.0.1", "53/udp", True, "the zone's name server"),
    (None, "10.1.0.1", "53", True, "the zone's name server"),
    (None, "10.2.0.1", "53/udp", False, "is of another zone"),
    (None, "10.1.0.1", "22", False, "and nothing else"),
    (None, "10.2.0.1", "icmp", False, "is of another zone"),
]


@pytest.mark.parametrize(("egress", "to", "port", "passes", "why"), EGRESS)
def test_out_of_the_zone(
    cloud: Cloud, egress: Object | None, to: str, port: str, passes: bool, why: str
) -> None:
    if egress is not None:
        cloud.web["spec"]["egress"] = egress
    verdict = cloud.ask("front", to, port)
    assert verdict.allowed is passes
    assert why in told(verdict)


def test_the_egress_that_is_missing_is_told(cloud: Cloud) -> None:
    [(subject, field, egress)] = changes(cloud.ask("front", "1.1.1.1", "443"))
    assert (subject, field) == ("NetworkZone acme/web", "spec.egress")
    cloud.web["spec"]["egress"] = egress
    assert cloud.ask("front", "1.1.1.1", "443").allowed
    assert not cloud.ask("front", "1.1.1.1", "80").allowed
    [(_, field, more)] = changes(cloud.ask("front", "1.1.1.1", "icmp"))
    assert (field, more) == ("spec.egress.to", [{"cidr": "1.1.1.1/32"}])


def test_from_outside_a_stack_is_reached_where_it_exposes_the_port_to_the_address(cloud: Cloud) -> None:
    verdict = cloud.ask("198.51.100.7", "front", "80")
    assert told(verdict) == "Denied: Stack acme/front spec.expose does not name TCP 80"
    cloud.front["spec"]["expose"] = changes(verdict)[0][2]
    assert told(cloud.ask("198.51.100.7", "front", "80")) == (
        "Allowed: Stack acme/front spec.expose[0].from[0] is 198.51.100.7/32, which holds 198.51.100.7"
    )
    assert "does not hold 198.51.100.8" in told(cloud.ask("198.51.100.8", "front", "80"))
    assert not cloud.ask("198.51.100.7", "front", "icmp").allowed
    assert not cloud.ask("2001:db8::7", "front", "80").allowed
    cloud.front["spec"]["expose"] = [{"port": 80, "protocol": "TCP"}]
    assert "from is empty: nobody may connect" in told(cloud.ask("198.51.100.7", "front", "80"))


def test_nobody_comes_from_elsewhere_with_an_address_of_a_zone(cloud: Cloud) -> None:
    cloud.front["spec"]["expose"] = [{"port": 80, "protocol": "TCP", "from": ["0.0.0.0/0"]}]
    assert "from elsewhere nobody comes with it" in told(cloud.ask("10.2.0.99", "front", "80"))
    assert not cloud.ask("shop/pg", "front", "80").allowed, "expose is for those outside of all zones"


def test_a_host_port_leads_to_the_guest_behind_it(cloud: Cloud) -> None:
    cloud.front["spec"]["expose"] = [
        {"port": 80, "protocol": "TCP", "hostPort": 8080, "from": ["0.0.0.0/0", "::/0"]}
    ]
    verdict = cloud.ask("198.51.100.7", "node/n1", "8080")
    assert verdict.allowed
    assert (
        f"{verdict.judgements[0].steps[0]}" == "Stack acme/front spec.expose[0].hostPort is 8080 of node n1"
    )
    assert cloud.ask("198.51.100.7", "192.0.2.1", "8080").allowed
    assert cloud.ask("2001:db8::7", "node/n1", "8080").allowed
    cloud.front["spec"]["expose"][0]["from"] = ["198.51.100.7/32"]
    assert not cloud.ask("2001:db8::7", "node/n1", "8080").allowed
    assert not cloud.ask("node/n2", "node/n1", "8080").allowed
    assert cloud.ask("node/n1", "node/n1", "8080").allowed, "a node may use its own hostPorts"
    assert not cloud.ask("node/n1", "front", "80").allowed
    for to, port in (("node/n2", "8080"), ("node/n1", "22"), ("node/n1", "icmp")):
        with pytest.raises(NotJudgedError):
            cloud.ask("198.51.100.7", to, port)


def test_a_node_may_ask_its_own_guests_for_an_echo_and_no_others(cloud: Cloud) -> None:
    assert cloud.ask("node/n1", "front", "icmp").allowed
    assert not cloud.ask("node/n2", "front", "icmp").allowed
    nodes = ["192.0.2.2/32", "10.1.0.1/32"]
    cloud.front["spec"]["expose"] = [{"port": 80, "protocol": "TCP", "from": nodes}]
    assert told(cloud.ask("node/n2", "front", "80")) == (
        "Denied: NetworkZone acme/web status.nodes has n2, and a node sends nothing into a zone but to its"
        " own guests"
    )
    cloud.web["status"]["nodes"] = [{"name": "n1"}]
    assert cloud.ask("node/n2", "front", "80").allowed
    assert cloud.ask("node/n1", "front", "80").judgements[0].allowed, "its own node comes as the gateway"


def test_what_has_no_place_no_address_or_no_zone_yet_is_told_with_its_reason(cloud: Cloud) -> None:
    cloud.connect()
    reason = condition("Ready", "False", "ZoneNotReady", "zone db overlaps")
    cloud.pg["status"] = {"conditions": [reason]}
    verdict = cloud.ask("front", "shop/pg")
    assert told(verdict) == (
        "Denied: Stack shop/pg status.node is not there: it has no place yet (ZoneNotReady: zone db overlaps)"
    )
    assert [step.passes for step in verdict.judgements[0].steps] == [True, True, True, False]
    cloud.pg["status"] = {"node": "n2"}
    assert "status.address is not there" in told(cloud.ask("front", "shop/pg"))
    cloud.pg["spec"]["zone"] = "nowhere"
    assert "spec.zone names nowhere, which is not there" in told(cloud.ask("front", "shop/pg"))


def test_what_is_stopped_paused_stalled_or_on_its_way_is_noted(cloud: Cloud) -> None:
    cloud.connect()
    assert cloud.ask("front", "shop/pg").notes == ()
    cloud.pg["spec"] |= {"runPolicy": "Stopped", "paused": True}
    cloud.pg["status"]["movingTo"] = "n1"
    cloud.front["status"]["state"] = "Starting"
    cloud.web["spec"]["paused"] = True
    cloud.db["status"]["conditions"] = [condition("Ready", "False", "CidrOverlaps", "10.2.0.0/24")]
    verdict = cloud.ask("front", "shop/pg")
    assert verdict.allowed
    notes = " ".join(verdict.notes)
    for part in ("Starting", "runPolicy is Stopped", "on its way to node n1", "CidrOverlaps: 10.2.0.0/24"):
        assert part in notes
    assert notes.count("spec.paused is true") == 2


def test_families_that_only_one_end_has_are_not_judged(cloud: Cloud) -> None:
    cloud.connect()
    cloud.db["spec"]["cidrs"] = ["10.2.0.0/24"]
    del cloud.pg["status"]["address6"]
    assert [each.version for each in cloud.ask("front", "shop/pg").judgements] == [4]
    cloud.db["spec"]["egress"] = {"mode": "NAT"}
    assert "no family of addresses in common" in told(cloud.ask("shop/pg", "2606:4700::1111", "80"))


def test_the_guest_tells_where_it_is_and_one_without_a_stack_is_a_guest_still(cloud: Cloud) -> None:
    cloud.connect()
    guest = guest_object("pg-1", "n1", "shop", "pg")
    guest["metadata"]["labels"] = {"dsecos.io/zone": "db", "dsecos.io/zone-namespace": "shop"}
    guest["spec"]["network"]["address"] = "10.2.0.9"
    cloud.guests = [guest]
    verdict = cloud.ask("front", "10.2.0.9")
    assert verdict.allowed
    assert "on node n1" in f"{verdict.judgements[0].steps[-1]}"
    guest["spec"]["stackRef"]["name"] = "former"
    verdict = cloud.ask("front", "10.2.0.9")
    assert verdict.allowed
    assert "Guest of the former Stack shop/former runs on" in verdict.notes[0]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("frnt", "Did you mean acme/front?"),
        ("pg", "Did you mean shop/pg?"),
        ("shop/pgg", "Did you mean shop/pg?"),
        ("node/n3", "Did you mean node/n1 or node/n2?"),
        ("zzz", "Write STACK, NAMESPACE/STACK, an IP address or node/NAME."),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are_near(
    cloud: Cloud, word: str, hint: str
) -> None:
    with pytest.raises(CliError) as caught:
        cloud.ask(word, "front")
    assert caught.value.code is ExitCode.NOT_FOUND
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [("1.1.1.1", "2.2.2.2"), ("node/n1", "node/n2"), ("10.1.0.1", "front"), ("1.1.1.1", "10.1.0.1")],
)
def test_what_is_no_guests_business_is_not_judged(cloud: Cloud, sender: str, receiver: str) -> None:
    with pytest.raises(NotJudgedError):
        cloud.ask(sender, receiver, "80")


def test_an_adopted_stack_is_not_judged(cloud: Cloud) -> None:
    del cloud.front["spec"]["zone"]
    cloud.front["spec"] |= {"adopt": {"node": "n1", "id": "100"}}
    with pytest.raises(NotJudgedError, match="adopted"):
        cloud.ask("front", "back")


@pytest.mark.parametrize("text", ["0", "65536", "80/sctp", "http", "80/tcp/udp", "-1", ""])
def test_a_port_is_checked(text: str) -> None:
    with pytest.raises(CliError):
        Port.parse(text)


@pytest.mark.parametrize(("text", "says"), [("80", "TCP 80"), ("80/TCP", "TCP 80"), ("53/udp", "UDP 53")])
def test_forms_of_a_port(text: str, says: str) -> None:
    assert str(Port.parse(text)) == says
    assert str(Port.parse("ICMP")) == "ICMP"


words = st.sampled_from(
    ["front", "back", "shop/pg", "node/n1", "node/n2", "1.1.1.1", "10.1.0.1", "10.1.0.77", "2606::1"]
)
ports = st.sampled_from(["80", "5432", "53/udp", "icmp"])


@given(
    sender=words, receiver=words, port=ports, forget=st.sets(st.sampled_from(["web", "db", "pg", "nodes"]))
)
def test_whatever_is_missing_there_is_an_answer_or_a_typed_error(
    sender: str, receiver: str, port: str, forget: set[str]
) -> None:
    cloud = Cloud()
    cloud.connect(POSTGRES)
    drop: dict[str, Callable[[], object]] = {
        "web": lambda: cloud.web.pop("status"),
        "db": lambda: cloud.db["metadata"].update(namespace="elsewhere"),
        "pg": lambda: cloud.pg.pop("status"),
        "nodes": cloud.nodes.clear,
    }
    for each in forget:
        drop[each]()
    try:
        verdict = cloud.ask(sender, receiver, port)
    except CliError:
        return
    answer = to_dict(verdict)
    assert answer["families"]
    assert all(family["rule"] for family in answer["families"])
    assert verdict.allowed is any(family["allowed"] for family in answer["families"])
    if not verdict.allowed:
        assert all(not all(step["passes"] for step in family["steps"]) for family in answer["families"])


def test_changes_are_yaml_of_one_line_an_entry() -> None:
    assert flow([{"port": 1, "from": ["::/0"]}]) == "- {port: 1, from: ['::/0']}"
