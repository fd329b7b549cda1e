"""The node's own firewall as nftables text. Pure: the same rules in any order give the same text.

`table inet <instance>_host` judges what the node itself receives and sends, after the zones' table
(priority 0). A packet has to be accepted by every table, so it opens nothing that another one closes. What
is forwarded, a port that is passed on to a guest too, never comes here.

Sources: nft(8); RFC 4890 (what of ICMPv6 has to pass), RFC 4861 7.1 (neighbour discovery has hop limit 255).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from dsecos_agent.firewall.model import L4
from dsecos_agent.hostfirewall.model import Address, Allow, Egress, Network, Rules
from dsecos_agent.links.protocol import LINK_GROUP, VXLAN_PORT

PRIORITY = 10
ECHO_RATE = "limit rate 50/second burst 100 packets"
KEPT = (
    "ct state established,related accept",
    "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept",
    "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept",
    "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert,"
    " nd-redirect } ip6 hoplimit 255 accept",
    "icmpv6 type { mld-listener-query, mld-listener-report, mld2-listener-report } accept",
)
"""What no rules take away, in or out."""


def table_name(instance: str) -> str:
    """Of the one table that this package ever changes."""
    return f"{instance}_host"


def removal(instance: str) -> str:
    """Text that deletes the table, also when it is not there."""
    name = table_name(instance)
    return f"add table inet {name}\ndelete table inet {name}\n"


def render(rules: Rules, instance: str, link_prefix: str) -> str:
    """Text that replaces the table when it is loaded."""
    lines = [
        f"table inet {table_name(instance)} {{",
        *_chain("input", "drop", _input(rules, link_prefix)),
        *_chain("output", "accept" if rules.egress is None else "drop", _output(rules, link_prefix)),
        "}",
    ]
    return removal(instance) + "\n".join(lines) + "\n"


def _chain(hook: str, policy: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"    chain {hook} {{"
    yield f"        type filter hook {hook} priority {PRIORITY}; policy {policy};"
    yield from (f"        {rule}" for rule in rules)
    yield "    }"


def _not_judged(side: str, link_prefix: str) -> Iterator[str]:
    """Loopback, and zones, other instances' too."""
    yield f'{side}name "lo" accept'
    yield f'{side}name "{link_prefix}z*" accept'
    yield f'{side}name "{link_prefix}v*" accept'
    yield f"meta {side}group {LINK_GROUP} accept"


def _input(rules: Rules, link_prefix: str) -> Iterator[str]:
    yield from _not_judged("iif", link_prefix)
    # Ahead of what is established: an echo request is, after the first one was answered.
    for family in ("icmp", "icmpv6"):
        yield f"{family} type echo-request {ECHO_RATE} accept"
        yield f"{family} type echo-request drop"
    yield from KEPT
    # The answers of a DHCP server, which may come by broadcast.
    yield "udp sport 67 udp dport 68 accept"
    yield "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept"
    yield from (f"{source} accept" for source in _from("saddr", rules.management))
    for source in _from("saddr", rules.nodes):
        yield f"{source} udp dport {VXLAN_PORT} accept"
        if rules.api_port is not None:
            yield f"{source} tcp dport {rules.api_port} accept"
    yield from sorted({rule for allow in rules.allow for rule in _allow(allow)})
    yield "counter drop"


def _allow(allow: Allow) -> Iterator[str]:
    ports = f"{allow.first}" if allow.first == allow.last else f"{allow.first}-{allow.last}"
    yield from (
        f"{source}{allow.protocol} dport {ports} accept"
        for source in ([f"{each} " for each in _from("saddr", allow.sources)] if allow.sources else [""])
    )


def _output(rules: Rules, link_prefix: str) -> Iterator[str]:
    if rules.egress is None:
        return
    yield from _not_judged("oif", link_prefix)
    yield from KEPT
    yield "udp sport 68 udp dport 67 accept"
    yield "udp sport 546 udp dport 547 accept"
    yield from (f"{target} udp dport {VXLAN_PORT} accept" for target in _from("daddr", rules.nodes))
    yield from sorted({rule for egress in rules.egress for rule in _egress(egress)})
    # The program that tries is told at once.
    yield "meta l4proto tcp counter reject with tcp reset"
    yield "counter reject with icmpx admin-prohibited"


def _egress(egress: Egress) -> Iterator[str]:
    (target,) = _from("daddr", [egress.network])
    if not egress.ports:
        yield f"{target} accept"
    for protocol in L4:
        ports = [str(port) for kind, port in sorted(egress.ports) if kind is protocol]
        if ports:
            yield f"{target} {protocol} dport {{ {', '.join(ports)} }} accept"


def _from(side: str, networks: Iterable[Address | Network]) -> list[str]:
    """A match for each family that there is; overlapping networks are one."""
    found = [ip_network(each) for each in networks]
    four = collapse_addresses(each for each in found if isinstance(each, IPv4Network))
    six = collapse_addresses(each for each in found if isinstance(each, IPv6Network))
    texts = [("ip", ", ".join(map(str, four))), ("ip6", ", ".join(map(str, six)))]
    return [f"{family} {side} {{ {text} }}" for family, text in texts if text]
