"""`table bridge`: what may come from a guest's port.

A frame passes only if link, MAC and address belong together, in IPv4, ARP, IPv6 and neighbour discovery
alike; nothing passes from port to port, so whatever a guest sends goes through the host; everything else on a
guest's port is dropped, and so is whatever comes from a guest's port that no set names.
"""

from collections.abc import Iterable, Iterator

from dsecos_agent.firewall.model import Direction, GuestPolicy
from dsecos_agent.firewall.text import (
    Counters,
    chain,
    collection,
    counter_name,
    counters,
    engine_ports,
    named_by_engines,
)
from dsecos_agent.firewall.validate import Names
from dsecos_agent.links.entries import link_local

TARGET = "iifname . @th,64,128"
"""The address that a neighbour solicitation or advertisement is about (RFC 4861, 4.3 and 4.4). nft 1.0.6 has
no name for it.
"""

OPTION_MAC = "iifname . @th,208,48"
"""The MAC in its first option."""

SENDER_MAC = "iifname . @ll,48,48"

PLAIN = "ip6 length 24"
"""A message without options (and, as every length here, without extension headers)."""

WITH_SOURCE, WITH_TARGET = (f"ip6 length 32 @th,192,16 {kind}01" for kind in ("0x01", "0x02"))
"""One with one option: the link-layer address of the sender, or of the target (RFC 4861, 4.6.1)."""

NOISE = (
    "{ nd-router-solicit, mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }"
)


def bridge_table(guests: list[GuestPolicy], names: Names, begin: Counters) -> Iterator[str]:
    """The table's body."""
    yield from counters(guests, Direction.SPOOFED, begin)
    yield from _identities(guests)
    counts = (f'"{g.link}" : "{counter_name(g.name, Direction.SPOOFED)}"' for g in guests)
    yield from collection("map", "spoofed", "ifname : counter", counts)
    named = named_by_engines(guests, names)
    yield from engine_ports(named)
    yield from _neighbours()
    yield from _from_port6()
    yield from chain(
        "from_port",
        [
            f"iifname != {names.ports} {'iifname != @engine_ports ' * bool(named)}accept",
            "iifname . ether saddr . ip saddr @identities accept",
            # The frame's sender and the sender that ARP speaks of are both the guest.
            "iifname . ether saddr . arp saddr ip @identities "
            "iifname . arp saddr ether . arp saddr ip @identities accept",
            "ether type ip6 goto from_port6",
            "counter name iifname map @spoofed",
            "drop",
        ],
        "filter hook prerouting priority -300",
    )
    yield from chain(
        "between_ports",
        [
            f"iifname != {names.ports} oifname != {names.ports} "
            f"{'iifname != @engine_ports oifname != @engine_ports ' * bool(named)}accept",
            # A broadcast is offered to every port: no attempt to reach a neighbour, so it is not counted.
            "meta pkttype other counter name iifname map @spoofed",
            "drop",
        ],
        "filter hook forward priority -200",
    )


def _identities(guests: Iterable[GuestPolicy]) -> Iterator[str]:
    four = (f'"{g.link}" . {g.mac} . {g.address}' for g in guests)
    yield from collection("set", "identities", "ifname . ether_addr . ipv4_addr", four)
    speakers = [g for g in guests if g.address6 is not None]
    own = [(g, address) for g in speakers for address in (g.address6, link_local(g.mac)) if address]
    six = (f'"{g.link}" . {g.mac} . {address}' for g, address in own)
    yield from collection("set", "identities6", "ifname . ether_addr . ipv6_addr", six)
    targets = (f'"{g.link}" . {int(address):#034x}' for g, address in own)
    yield from collection("set", "targets6", f"typeof {TARGET}", targets)
    macs = (f'"{g.link}" . 0x{g.mac.replace(":", "")}' for g in speakers)
    yield from collection("set", "macs6", f"typeof {OPTION_MAC}", macs)
    yield from collection("set", "ports6", "ifname", (f'"{g.link}"' for g in speakers))


def _from_port6() -> Iterator[str]:
    yield from chain(
        "from_port6",
        [
            # Every guest asks for IPv6 routers and joins groups when it starts, also where its zone has no
            # IPv6. No attempt to deceive is made by that, so it is not counted.
            "iifname != @ports6 drop",
            f"icmpv6 type {NOISE} drop",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, nd-redirect } "
            "goto neighbours",
            "iifname . ether saddr . ip6 saddr @identities6 accept",
            "counter name iifname map @spoofed",
            "drop",
        ],
    )


def _neighbours() -> Iterator[str]:
    """What the host keeps of its neighbours it learns from these messages: nobody speaks for another."""
    yield from chain(
        "own_neighbours",
        [
            f"icmpv6 type nd-neighbor-solicit {PLAIN} accept",
            f"icmpv6 type nd-neighbor-solicit {WITH_SOURCE} {OPTION_MAC} @macs6 accept",
            f"icmpv6 type nd-neighbor-advert {TARGET} @targets6 {PLAIN} accept",
            f"icmpv6 type nd-neighbor-advert {TARGET} @targets6 {WITH_TARGET} {OPTION_MAC} @macs6 accept",
            "counter name iifname map @spoofed",
            "drop",
        ],
    )
    yield from chain(
        "neighbours",
        [
            # Whether its own address is in use (RFC 4862, 5.4): it has none yet to ask from.
            f"icmpv6 type nd-neighbor-solicit ip6 saddr :: {TARGET} @targets6 {SENDER_MAC} @macs6 accept",
            "iifname . ether saddr . ip6 saddr @identities6 goto own_neighbours",
            "counter name iifname map @spoofed",
            "drop",
        ],
    )
