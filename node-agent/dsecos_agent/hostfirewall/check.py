"""What is refused before anything is touched, because it is known to lock somebody out. Pure."""

from dataclasses import dataclass

from dsecos_api.conditions import Reason

from dsecos_agent.firewall.model import L4
from dsecos_agent.hostfirewall.model import Address, ApiServer, Egress, Rules

SSH = 22


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why; the message names the field, what it says, and what is expected."""

    reason: Reason
    message: str


def check(rules: Rules, api: ApiServer) -> Refusal | None:
    """None: it may be tried.

    The API server's port on a node that serves it is not asked for here: `render` always opens it to the
    nodes, and the management networks reach everything.
    """
    way_in = any(each.protocol is L4.TCP and each.first <= SSH <= each.last for each in rules.allow)
    if not rules.management and not way_in:
        return Refusal(
            Reason.LOCKS_OUT_ADMINISTRATORS,
            "spec.firewall.managementNetworks is empty and spec.firewall.allow has no entry for port 22/TCP:"
            " nobody could log in; name the network that you administer the node from",
        )
    for address in sorted(api.addresses, key=str):
        if not may_begin(rules, address, api.port, here=api.here):
            return Refusal(
                Reason.LOCKS_OUT_API_SERVER,
                f"spec.firewall.egress does not contain the API server {api.host}, port {api.port}/TCP at"
                f" {address}: add an entry with cidr {address}/{address.max_prefixlen} and that port",
            )
    return None


def may_begin(rules: Rules, address: Address, port: int, *, here: bool) -> bool:
    """Whether the node itself may begin a TCP connection there."""
    return here or rules.egress is None or any(_holds(each, address, port) for each in rules.egress)


def _holds(egress: Egress, address: Address, port: int) -> bool:
    return address in egress.network and (not egress.ports or (L4.TCP, port) in egress.ports)
