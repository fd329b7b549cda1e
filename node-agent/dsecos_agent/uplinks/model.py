"""What there is of links, addresses and routes, as ip(8) tells it and takes it back."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Address:
    """A global address of a link."""

    interface: Interface
    words: tuple[str, ...] = ()
    """What ip-address(8) is told beside it, so that it is as it was: broadcast, lifetimes."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the host."""

    mtu: int
    addresses: tuple[Address, ...] = ()
    """But for those that IPv6 routers announce: the kernel keeps these itself."""
    min_mtu: int = 0
    max_mtu: int = 0
    """0: the driver does not say."""

    def interfaces(self) -> frozenset[Interface]:
        """The addresses alone."""
        return frozenset(each.interface for each in self.addresses)


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table that the kernel did not make itself."""

    family: int
    """4 or 6."""
    words: tuple[str, ...]
    """As ip-route(8) prints it, its link always among them."""

    @property
    def default(self) -> bool:
        """Whether it is for all that no other route is for."""
        return self.words[0] == "default"

    @property
    def gateway(self) -> str | None:
        """None: straight over the link, or over several."""
        found = self._after("via")
        # "via inet6 ADDRESS" where it is of the other family (RFC 5549).
        return self._after(found) if found in {"inet", "inet6"} else found

    @property
    def link(self) -> str | None:
        """None: several."""
        return None if "nexthop" in self.words else self._after("dev")

    @property
    def metric(self) -> int:
        """The lowest one counts."""
        return int(self._after("metric") or 0)

    def _after(self, word: str) -> str | None:
        return self.words[self.words.index(word) + 1] if word in self.words else None


@dataclass(frozen=True, slots=True)
class Network:
    """Some links and their routes, and all default routes of the host."""

    links: Mapping[str, Link]
    """By name; one that does not exist is not there."""
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """Lines for `ip -force -batch -`."""

    drop: str = ""
    """Comes first; may name what is gone already."""
    put: str = ""
