"""From what there is to what is wanted, and back: lines for ip(8). Pure.

A script can be run at any moment between the two, and twice: it takes away what only the one has, and puts
everything that the other has. For the kernel takes more than it is told to: with a link's first address of a
network go the others of that network, and with its last address all of its routes.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_interface

from dsecos_api.hostpolicy import Uplink

from dsecos_agent.uplinks.model import Address, Interface, Link, Network, Route, Script

METRIC = {4: 0, 6: 1}
"""Of a default route of ours, by family: nothing is preferred to it. IPv6 takes 0 for 1024."""
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


def target(uplinks: Sequence[Uplink], observed: Network) -> Network:
    """What there is to be; links that do not exist are left out. Raises ValueError: see `check`."""
    links, routes = dict(observed.links), observed.routes
    for uplink in uplinks:
        link = links.get(uplink.interface)
        if link is None:
            continue
        links[uplink.interface] = Link(
            uplink.mtu or link.mtu, _addresses(uplink, link), link.min_mtu, link.max_mtu
        )
        for family, gateway in ((4, uplink.gateway), (6, uplink.gateway6)):
            if gateway is not None:
                routes = _routes(routes, family, gateway, uplink.interface)
    return Network(links, routes)


def script(there: Network, wanted: Network) -> Script:
    """From the one to the other; empty if they are the same."""
    drop: list[str] = []
    put: list[str] = []
    if there != wanted:
        drop += [f"route del {_route(each)}" for each in there.routes if each not in wanted.routes]
    for name, link in wanted.links.items():
        before = there.links.get(name, link)
        if before.mtu != link.mtu:
            put.append(f"link set dev {name} mtu {link.mtu}")
        if before.interfaces() != link.interfaces():
            gone = sorted(before.interfaces() - link.interfaces(), key=str)
            drop += [f"addr del {each} dev {name}" for each in gone]
            put += [f"addr replace {_words(each)} dev {name}" for each in link.addresses]
    if there != wanted:
        # A gateway has to be reached before there can be a route by way of it.
        ordered = sorted(wanted.routes, key=lambda each: each.gateway is not None)
        put += [f"route replace {_route(each)}" for each in ordered]
    return Script(_batch(drop), _batch(put))


def _addresses(uplink: Uplink, link: Link) -> tuple[Address, ...]:
    if uplink.addresses is None:
        return link.addresses
    wanted = list(dict.fromkeys(map(ip_interface, uplink.addresses)))
    kept = [each for each in link.addresses if each.interface in wanted]
    held = link.interfaces()
    return (*kept, *(_new(each) for each in wanted if each not in held))


def _new(interface: Interface) -> Address:
    broadcasts = interface.version == 4 and interface.network.prefixlen < 31  # RFC 3021
    return Address(interface, ("broadcast", "+") if broadcasts else ())


def _routes(routes: tuple[Route, ...], family: int, gateway: str, link: str) -> tuple[Route, ...]:
    """With a default route through the gateway that nothing is preferred to."""
    defaults = [each for each in routes if each.default and each.family == family]
    best = min((each.metric for each in defaults), default=0)
    ways = [(each.gateway, each.link) for each in defaults if each.metric == best]
    if ways == [(gateway, link)]:
        return routes
    metric = METRIC[family]
    others = tuple(each for each in routes if each not in defaults or each.metric > metric)
    words = ("default", "via", gateway, "dev", link, "proto", "static", "metric", str(metric))
    return (*others, Route(family, words))


def _route(route: Route) -> str:
    # In a batch the family is told by the destination, and "default" has none.
    return " ".join((EVERYTHING[route.family] if route.default else route.words[0], *route.words[1:]))


def _words(address: Address) -> str:
    return " ".join((str(address.interface), *address.words))


def _batch(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
