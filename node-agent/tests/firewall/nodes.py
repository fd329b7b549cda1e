"""Two nodes of real links, joined by the zones' transit links: `near` is this namespace, `far` another one.

outside 192.0.2.10 ------ 192.0.2.1   near  dtz1: one .2, two .3    dtz2: three .2
        2001:db8::10      2001:db8::1  |
                                       | 198.18.0.0/24
                                       |
                                      far   dtz1: five .4           dtz2: four .3

What near has is made by the agent's own code, what far has by ip(8) alone. The transit links are VXLANs, or
802.1Q links upon the one between the two.
"""

import asyncio
import subprocess
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path

import pytest
from dsecos_agent.firewall.model import Crossing, GuestPolicy, Policy, Tunnel, ZonePolicy
from dsecos_agent.firewall.nft import NftFirewall
from dsecos_agent.firewall.render import render
from dsecos_agent.firewall.validate import Names
from dsecos_agent.links.entries import link_local
from dsecos_agent.links.netlink import NetlinkLinks
from dsecos_agent.links.protocol import Bridge, Encapsulation, Remote, Transit

from ..links.netns import Namespace, ip  # noqa: TID252 - tests have no package to name
from .world import Peer, bridge_port

NEAR, FAR = IPv4Address("198.18.0.1"), IPv4Address("198.18.0.2")
NEAR_MAC, FAR_MAC = "02:00:c6:12:00:01", "02:00:c6:12:00:02"
MTU = 1450
DAD = "net.ipv6.conf.default.accept_dad"
IDS = {"dtz1": 7, "dtz2": 8}
MACS = {"dtz1": "02:00:00:00:01:01", "dtz2": "02:00:00:00:02:01"}
OUTSIDE6, NODE6 = "2001:db8::10", "2001:db8::1"
ZONES = tuple(
    ZonePolicy(
        f"dtz{n}",
        IPv4Interface(f"10.213.{n}.1/24"),
        gateway6=IPv6Interface(f"fd00:{n}::1/64"),
        transit=f"dtv{n}",
    )
    for n in (1, 2)
)


def _guest(name: str, number: int, zone: int, host: int) -> GuestPolicy:
    return GuestPolicy(
        name,
        f"dtg{number}",
        f"dtz{zone}",
        f"02:00:00:00:00:0{number}",
        IPv4Address(f"10.213.{zone}.{host}"),
        address6=IPv6Address(f"fd00:{zone}::{host}"),
    )


HERE = (_guest("one", 1, 1, 2), _guest("two", 2, 1, 3), _guest("three", 3, 2, 2))
THERE = (_guest("four", 4, 2, 3), _guest("five", 5, 1, 4))
GUESTS = HERE + THERE
NETWORKS: dict[str, tuple[IPv4Network | IPv6Network, ...]] = {
    zone.bridge: (zone.gateway.network, zone.gateway6.network) for zone in ZONES if zone.gateway6
}
PLAIN = Policy(zones=ZONES, guests=GUESTS)
VXLAN_ALONE = pytest.mark.parametrize("nodes", [Encapsulation.VXLAN], ids=str, indirect=True)
"""For what has nothing to do with the way between nodes, or takes too long in a virtual machine."""


def agreed(source: str, destination: str, *ports: tuple[object, int]) -> tuple[Crossing, ...]:
    """Two zones have agreed, in both families."""
    return tuple(
        Crossing(a, b, frozenset(ports))  # type: ignore[arg-type] # protocols are L4
        for a, b in zip(NETWORKS[source], NETWORKS[destination], strict=True)
    )


def here(policy: Policy, encapsulation: Encapsulation = Encapsulation.VXLAN) -> Policy:
    """What near is told of a policy for all guests."""
    return _told(policy, HERE, Tunnel(NEAR, tuple(IDS.values()), (FAR,)), FAR_MAC, encapsulation)


def there(policy: Policy, encapsulation: Encapsulation = Encapsulation.VXLAN) -> Policy:
    """What far is told."""
    return _told(policy, THERE, Tunnel(FAR, tuple(IDS.values()), (NEAR,)), NEAR_MAC, encapsulation)


def _told(
    policy: Policy,
    guests: tuple[GuestPolicy, ...],
    tunnel: Tunnel,
    sender: str,
    encapsulation: Encapsulation,
) -> Policy:
    links = {guest.link for guest in guests}
    return replace(
        policy,
        zones=tuple(replace(zone, encapsulation=encapsulation, senders=(sender,)) for zone in policy.zones),
        guests=tuple(guest for guest in policy.guests if guest.link in links),
        tunnel=tunnel if encapsulation is Encapsulation.VXLAN else None,
    )


class Nodes:
    """Both nodes, their guests and the outside."""

    def __init__(self, firewall: NftFirewall, run_directory: Path, encapsulation: Encapsulation) -> None:
        self.firewall = firewall
        self.encapsulation = encapsulation
        self.links = NetlinkLinks("dt", run_directory)
        self.peers: dict[str, Peer] = {}

    async def start(self) -> None:
        for name in (*(guest.name for guest in GUESTS), "outside", "far"):
            self.peers[name] = Peer(Namespace())
        await asyncio.gather(*(peer.start() for peer in self.peers.values()))
        self.far = self.peers["far"].namespace
        # Nobody has these addresses but us: no second of waiting for somebody to say that he has.
        await asyncio.gather(
            *(peer.namespace.run("sysctl", "-qw", f"{DAD}=0") for peer in self.peers.values())
        )
        self._wires()
        await self.links.ensure_forwarding()
        await self.links.ensure_forwarding6()
        for zone in ZONES:
            await self._zone_here(zone)
            self._zone_there(zone)
        for guest in HERE:
            self.peers[guest.name].namespace.veth(guest.link, mac=guest.mac)
            await self.links.attach(guest.link, guest.bridge)
            # Isolation of ports is a second lock; here the tables are to hold alone.
            bridge_port(guest.link, "isolated off")
        for guest in THERE:
            inside = self.peers[guest.name].namespace
            self.far.ip(f"link add {guest.link} type veth peer eth0 address {guest.mac} netns {inside.pid}")
            self.far.ip(f"link set {guest.link} master {guest.bridge} up")
        for guest in GUESTS:
            self._inside(guest)

    async def apply(self, policy: Policy) -> None:
        """On both nodes."""
        await self.firewall.apply(here(policy, self.encapsulation))
        self.apply_there(policy)

    def apply_there(self, policy: Policy) -> None:
        text = render(there(policy, self.encapsulation), Names("dtfw", "dt"))
        subprocess.run(self.far.argv("nft", "-f", "-"), input=text, text=True, check=True)

    def open_there(self) -> None:
        """As if somebody had broken into far: no rules."""
        self.far_run("nft", "flush", "ruleset")

    def far_run(self, *command: str) -> None:
        subprocess.run(self.far.argv(*command), check=True, capture_output=True)

    async def close(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self.peers.values()))

    def _wires(self) -> None:
        subprocess.run(["sysctl", "-qw", f"{DAD}=0"], check=True)
        outside = self.peers["outside"].namespace
        self.far.veth("ul0", "ul0")
        outside.veth("out0")
        ip(f"addr add {NEAR}/24 dev ul0")
        ip("addr add 192.0.2.1/24 dev out0")
        ip(f"-6 addr add {NODE6}/64 dev out0 nodad")
        ip("link set ul0 up")
        ip("link set out0 up")
        self.far.ip(f"addr add {FAR}/24 dev ul0")
        outside.ip("addr add 192.0.2.10/24 dev eth0")
        outside.ip(f"-6 addr add {OUTSIDE6}/64 dev eth0 nodad")
        # Whoever is outside may try the zones' addresses, and the tunnel's, themselves.
        outside.ip("route add 10.213.0.0/16 via 192.0.2.1")
        outside.ip("route add 198.18.0.0/24 via 192.0.2.1")
        outside.ip(f"-6 route add fd00::/16 via {NODE6}")

    async def _zone_here(self, zone: ZonePolicy) -> None:
        assert zone.transit is not None
        mac = MACS[zone.bridge]
        bridge = Bridge(zone.bridge, "owner", zone.gateway, MTU, zone.gateway6, mac)
        await self.links.ensure_bridge(bridge)
        addresses = tuple(
            sorted(
                (a for g in THERE if g.bridge == zone.bridge for a in (g.address, g.address6) if a),
                key=lambda address: (address.version, int(address)),
            )
        )
        remotes = (Remote(FAR, FAR_MAC, addresses),)
        number = IDS[zone.bridge]
        transit = Transit(zone.transit, "owner", number, NEAR, NEAR_MAC, MTU, remotes, self.encapsulation)
        await self.links.ensure_transit(transit)

    def _zone_there(self, zone: ZonePolicy) -> None:
        far, bridge, transit = self.far, zone.bridge, zone.transit
        for name, value in (
            ("ipv4.ip_forward", 1),
            ("ipv6.conf.all.forwarding", 1),
            ("ipv4.conf.all.rp_filter", 0),
            ("ipv4.conf.default.rp_filter", 0),
        ):
            self.far_run("sysctl", "-qw", f"net.{name}={value}")
        far.ip(f"link add {bridge} address {MACS[bridge]} mtu {MTU} type bridge mcast_snooping 0")
        far.ip(f"addr add {zone.gateway} dev {bridge}")
        far.ip(f"-6 addr add {zone.gateway6} dev {bridge} nodad")
        far.ip(f"link set {bridge} up")
        vxlan = self.encapsulation is Encapsulation.VXLAN
        of_vxlan = f"dstport 4789 local {FAR} nolearning" if vxlan else ""
        far.ip(
            f"link add {'' if vxlan else 'link ul0'} name {transit} address {FAR_MAC} mtu {MTU}"
            f" type {self.encapsulation} id {IDS[bridge]} {of_vxlan}"
        )
        far.ip(f"link set {transit} up")
        far.ip(f"neigh add {NEAR} lladdr {NEAR_MAC} dev {transit} nud permanent")
        hop = link_local(NEAR_MAC)
        far.ip(f"-6 neigh add {hop} lladdr {NEAR_MAC} dev {transit} nud permanent")
        if vxlan:
            self.far_run("bridge", "fdb", "add", NEAR_MAC, "dev", str(transit), "dst", str(NEAR))
        for guest in HERE:
            if guest.bridge == bridge:
                far.ip(f"route add {guest.address}/32 via {NEAR} dev {transit} onlink")
                far.ip(f"-6 route add {guest.address6}/128 via {hop} dev {transit} onlink")

    def _inside(self, guest: GuestPolicy) -> None:
        """As an engine does: its addresses alone, everything else through the gateway."""
        zone = next(zone for zone in ZONES if zone.bridge == guest.bridge)
        inside = self.peers[guest.name].namespace
        inside.ip(f"link set eth0 up mtu {MTU}")
        inside.ip(f"addr add {guest.address}/32 dev eth0")
        inside.ip(f"route add default via {zone.gateway.ip} dev eth0 onlink")
        inside.ip(f"-6 addr add {guest.address6}/128 dev eth0 nodad")
        assert zone.gateway6 is not None
        inside.ip(f"-6 route add default via {zone.gateway6.ip} dev eth0 onlink")
