"""What is refused before anything is touched: it cannot be, or is known to cut the node off. Pure."""

from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from dsecos_api.conditions import Reason
from dsecos_api.hostpolicy import Uplink

from dsecos_agent.adapter_errors import AdapterError
from dsecos_agent.links.protocol import ENGINE_PORT
from dsecos_agent.uplinks.model import Interface, Link, Network
from dsecos_agent.uplinks.plan import target

IP = IPv4Address | IPv6Address


class UplinkRefusedError(AdapterError):
    """It is not tried; the message names the uplink, what it says, and what is expected."""

    def __init__(self, reason: Reason, message: str) -> None:
        """`reason` is the condition's."""
        super().__init__(message)
        self.reason = reason


def check(
    uplinks: Sequence[Uplink],
    observed: Network,
    *,
    elsewhere: Collection[IP],
    nodes: Collection[IP],
    link_prefix: str,
) -> None:
    """Whether it may be tried. `elsewhere`: addresses of the host's other links; `nodes`: those that the
    cluster's nodes are known by. Raises UplinkRefusedError.
    """
    for uplink in uplinks:
        _check_link(uplink, observed.links.get(uplink.interface), link_prefix)
        for text in uplink.addresses or ():
            _check_address(uplink.interface, text)
    wanted = target(uplinks, observed)
    given = {4 for each in uplinks if each.gateway} | {6 for each in uplinks if each.gateway6}
    for uplink in uplinks:
        link = wanted.links[uplink.interface]
        _check_gateways(uplink, link)
        _check_defaults(uplink.interface, link, observed, given)
    lost = (_addresses(observed) - _addresses(wanted)).intersection(nodes).difference(elsewhere)
    if lost:
        raise UplinkRefusedError(
            Reason.LOCKS_OUT_NODES,
            f"spec.uplinks: the cluster's other nodes know this one by {_list(lost)}, which no interface"
            " would have any more: keep it, or set spec.addresses of the Node to another address first",
        )


def _check_link(uplink: Uplink, link: Link | None, link_prefix: str) -> None:
    name = uplink.interface
    if name.startswith(link_prefix) or ENGINE_PORT.fullmatch(name) or name == "lo":
        raise _invalid(name, "is no uplink: DsecOS, the engine or the kernel made it for itself")
    if link is None:
        raise _invalid(name, "does not exist on this node")
    least, most = link.min_mtu, link.max_mtu or 65535
    if uplink.mtu is not None and not least <= uplink.mtu <= most:
        raise _invalid(name, f"takes an MTU from {least} to {most}, not {uplink.mtu}")


def _check_address(name: str, text: str) -> None:
    try:
        address = ip_interface(text)
    except ValueError as error:
        raise _invalid(name, f"addresses: {text!r} is not like 10.0.0.5/24") from error
    narrow = address.is_loopback or address.is_multicast or address.is_unspecified
    if narrow or (address.version == 6 and address.is_link_local):
        raise _invalid(name, f"addresses: {text} is no global address of one host")


def _check_gateways(uplink: Uplink, link: Link) -> None:
    for field, text in (("gateway", uplink.gateway), ("gateway6", uplink.gateway6)):
        if text is not None and not _reaches(link.interfaces(), text):
            raise _invalid(uplink.interface, f"{field}: {text} is in no network of its addresses")


def _check_defaults(name: str, link: Link, observed: Network, given: Collection[int]) -> None:
    """Those that are there go on, in families that no new one is given for."""
    before = observed.links[name].interfaces()
    for route in observed.routes:
        gateway = route.gateway
        if not route.default or route.link != name or route.family in given or gateway is None:
            continue
        if _reaches(before, gateway) and not _reaches(link.interfaces(), gateway):
            raise _invalid(
                name,
                f"has the default route via {gateway}, which is in no network of addresses: name"
                f" {'gateway' if route.family == 4 else 'gateway6'} too",
            )


def _reaches(interfaces: Collection[Interface], gateway: str) -> bool:
    """Straight over the link."""
    address = ip_address(gateway)
    if any(address == each.ip for each in interfaces):
        return False
    announced = address.version == 6 and address.is_link_local
    return announced or any(address in each.network for each in interfaces)


def _addresses(network: Network) -> frozenset[IP]:
    return frozenset(each.ip for link in network.links.values() for each in link.interfaces())


def _invalid(name: str, text: str) -> UplinkRefusedError:
    return UplinkRefusedError(Reason.UPLINK_INVALID, f"spec.uplinks: {name} {text}")


def _list(addresses: Iterable[IP]) -> str:
    return ", ".join(sorted(map(str, addresses)))
