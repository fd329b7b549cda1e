"""Who listens at port 53: a dnsmasq that follows its bridge runs also where it cannot listen."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

import psutil

from dsecos_agent.names.model import Address

PORT = 53
_NAMES = {socket.SOCK_STREAM: "TCP", socket.SOCK_DGRAM: "UDP"}
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - looked for, not listened at


def missing(pid: int, gateways: Iterable[Address]) -> list[Address]:
    """Where the process does not listen for both UDP and TCP, of where it has to. Blocking; all of it, for
    one that has ended.
    """
    try:
        listens = {(found.laddr.ip, found.type) for found in _listening(psutil.Process(pid))}
    except psutil.NoSuchProcess:
        return list(gateways)
    return [address for address in gateways if not all((str(address), kind) in listens for kind in _NAMES)]


def taken(gateways: Iterable[Address]) -> list[str]:
    """Who else listens there, for people. Blocking."""
    return sorted(
        {
            f"{_NAMES[found.type]} port {PORT} of {address} is taken by {_name(found.pid)}: end that"
            for found in _listening(psutil)
            for address in gateways
            if found.laddr.ip in (str(address), *_EVERYWHERE)
        }
    )


def _listening(of: Any) -> list[Any]:
    """Sockets of a process, or of the whole network namespace."""
    return [
        found
        for found in of.net_connections("inet")
        if found.laddr and found.laddr.port == PORT and not found.raddr
    ]


def _name(pid: int | None) -> str:
    try:
        return "somebody" if pid is None else psutil.Process(pid).name()
    except psutil.NoSuchProcess:
        return "somebody"
