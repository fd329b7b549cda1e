"""Where a guest asks for names: its /etc/resolv.conf. Pure."""

from dsecos_api.guest import GuestNetwork
from dsecos_api.names import DOMAIN


def resolv_conf(network: GuestNetwork, namespace: str) -> str:
    """Its zone's gateway is asked, first in the domain of the Stack's namespace (resolv.conf(5)).

    With `ndots:2` names of one dot, `<service>.<stack>`, are tried in that domain first as well.
    """
    gateways = [each for each in (network.gateway, network.gateway6) if each is not None]
    servers = "".join(f"nameserver {gateway}\n" for gateway in gateways)
    return f"{servers}search {namespace}.{DOMAIN}\noptions ndots:2\n"
