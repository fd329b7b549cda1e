"""A policy as nftables text. Pure: the same policy in any order gives the same text.

Two tables, named after the instance (nft(8)): `bridge_table` is about ports, `inet_table` about connections.
"""

from dsecos_agent.firewall.bridge_table import bridge_table
from dsecos_agent.firewall.inet_table import inet_table
from dsecos_agent.firewall.model import Policy
from dsecos_agent.firewall.text import Counters, table
from dsecos_agent.firewall.validate import Names, validate


def render(policy: Policy, names: Names, counters: Counters | None = None) -> str:
    """Text that replaces both tables when it is loaded; `counters` are the values that they begin with.

    Raises InvalidPolicyError.
    """
    validate(policy, names)
    zones = sorted(policy.zones, key=lambda zone: zone.bridge)
    guests = sorted(policy.guests, key=lambda guest: guest.name)
    begin = counters or {}
    lines = [
        *table("bridge", names.instance, bridge_table(guests, names, begin)),
        *table("inet", names.instance, inet_table(policy, zones, guests, names, begin)),
    ]
    return "\n".join(lines) + "\n"


def removal(names: Names) -> str:
    """Text that deletes both tables, also when they are not there."""
    return "".join(
        f"add table {family} {names.instance}\ndelete table {family} {names.instance}\n"
        for family in ("bridge", "inet")
    )
