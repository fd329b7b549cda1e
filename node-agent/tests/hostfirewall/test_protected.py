"""No guest reaches a node: the addresses that the HostPolicy tells are in the zones' firewall."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from dsecos_agent.firewall.model import Policy
from dsecos_agent.guests.record import Records
from dsecos_agent.nodefirewall.wishes import CacheWishes
from dsecos_api import HostPolicy
from dsecos_runtime import HOST_POLICY, Cache, Key, Resource


@dataclass
class Known:
    """A cache that holds a HostPolicy at most."""

    policy: HostPolicy | None = None
    complete: set[str] = field(default_factory=lambda: {"Guest", "ZoneAttachment", "HostPolicy"})

    def ready(self, resource: Resource[Any]) -> bool:
        return resource.kind in self.complete

    def list(self, *_: Any) -> list[Any]:
        return []

    def get(self, resource: Resource[Any], key: Key) -> Any:
        assert (resource, key) == (HOST_POLICY, Key("dsecos-node-a", "host"))
        return self.policy


def wishes(known: Known, folder: Path) -> CacheWishes:
    found = CacheWishes(
        Records(folder), lambda _: None, namespace="dsecos-node-a", prefix="dt", registry_port=None
    )
    found.connect(cast(Cache, known))
    return found


def told(*nodes: str) -> HostPolicy:
    return HostPolicy.parse({"metadata": {"name": "host"}, "spec": {"nodes": list(nodes)}})


def test_they_follow_the_policy_also_where_the_node_has_no_firewall_of_its_own(tmp_path: Path) -> None:
    known = Known()
    wish = wishes(known, tmp_path)
    for nodes in ((), ("10.0.0.6", "10.0.0.5", "fd00::5"), ("10.0.0.5", "no address")):
        known.policy = told(*nodes)
        rendered = wish.rendered(Policy())
        assert rendered is not None
        expected = sorted({"10.0.0.5", "10.0.0.6", "fd00::5"} & set(nodes))
        assert rendered.policy.protected == tuple(map(ip_address, expected))


def test_nothing_is_wished_before_they_are_known(tmp_path: Path) -> None:
    known = Known(complete={"Guest", "ZoneAttachment"})
    assert wishes(known, tmp_path).rendered(Policy()) is None
