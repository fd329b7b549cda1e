"""What a zone's dnsmasq is told: its arguments and its hosts file. Pure.

All is said by arguments, dnsmasq(8): so what a running server was told can be read in /proc, and no file can
say anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from dsecos_api.names import DOMAIN, REGISTRY_HOST

from dsecos_agent.names.model import Address, Zone

LOCAL_TTL = 5
"""Seconds for which a guest may remember where a Stack is."""
CACHE = 1000
"""Other names that are remembered, about 100 bytes each."""
FORWARDED = 150
"""Queries that are asked of the node's resolvers at the same time; those beyond are refused."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII)
_BRIDGE = re.compile(r"[a-z0-9][a-z0-9_-]{0,14}", re.IGNORECASE | re.ASCII)


def is_name(text: str) -> bool:
    """Whether it is a host's full name below DOMAIN (RFC 1123, 2.1; RFC 1035, 2.3.4)."""
    return (
        len(text) <= 253
        and text.lower().endswith(f".{DOMAIN}")
        and all(_LABEL.fullmatch(label) for label in text.split("."))
    )


def is_bridge(text: str) -> bool:
    """Whether it can be the name of a zone's bridge: nothing that is a path, a list or a pattern."""
    return _BRIDGE.fullmatch(text) is not None


def known(zone: Zone) -> dict[str, tuple[Address, ...]]:
    """Whom the zone's guests find: Stacks, and their node's registry. That listens by IPv4 alone."""
    registry = tuple(gateway for gateway in zone.gateways if gateway.version == 4)
    return {**zone.hosts, REGISTRY_HOST: registry}


def unfit(hosts: Mapping[str, tuple[Address, ...]]) -> list[str]:
    """What is left out of the hosts file because it cannot be a name."""
    return sorted(name for name in hosts if not is_name(name))


def hosts_file(instance: str, hosts: Mapping[str, tuple[Address, ...]]) -> str:
    """hosts(5) for the names that can be one, an address and a name a line, sorted.

    An address with several names has that of the fewest labels as its own in reverse lookups: dnsmasq takes
    the first.
    """
    pairs = {
        (address.version, int(address), name.count("."), name.lower(), str(address))
        for name, addresses in hosts.items()
        if is_name(name)
        for address in addresses
        if not _scope(address)
    }
    head = f"# Written by the node agent of {instance}; dnsmasq reads it anew on SIGHUP.\n"
    return head + "".join(f"{address} {name}\n" for *_, name, address in sorted(pairs))


def _scope(address: Address) -> str | None:
    # An address of one link says nothing to others, and the name of the link may be any text.
    return getattr(address, "scope_id", None)


def arguments(
    zone: Zone, *, program: Path, user: str, group: str, hosts: Path, pid: Path, resolv: Path
) -> list[str]:
    """How the zone's server is started; it goes into the background when it listens.

    No configuration file, no /etc/hosts, no DHCP, no TFTP, no answers about itself; it listens at the bridge
    alone, also at one that is made again under the same name.
    """
    return [
        str(program),
        "--conf-file=",
        f"--addn-hosts={hosts}",
        f"--pid-file={pid}",
        f"--user={user}",
        f"--group={group}",
        f"--interface={zone.bridge}",
        "--except-interface=lo",
        "--bind-dynamic",
        "--no-hosts",
        "--no-ident",
        "--domain-needed",
        "--bogus-priv",
        f"--local=/{DOMAIN}/",
        f"--local-ttl={LOCAL_TTL}",
        f"--cache-size={CACHE}",
        f"--dns-forward-max={FORWARDED}",
        # A syslog that does not take anything must not hold up answers.
        "--log-async",
        f"--resolv-file={resolv}" if zone.forwards else "--no-resolv",
    ]
