"""The ports that a normalised compose document publishes in its guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsecos_api import Reason

from dsecos_operator.rendering.refused import Refused

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True)
class Published:
    """Ports `first` to `last` of the guest, passed to a service."""

    service: str
    protocol: str
    first: int
    last: int
    address: str

    def meets(self, other: Published) -> bool:
        """Whether both want the same port of the same address."""
        same_address = self.address == other.address or bool({self.address, other.address} & _EVERYWHERE)
        overlap = self.first <= other.last and other.first <= self.last
        return self.protocol == other.protocol and same_address and overlap


def published(document: Mapping[str, Any]) -> list[Published]:
    """Every published port. Raises Refused (ComposeInvalid) where the same is published twice."""
    found: list[Published] = []
    for name, service in document.get("services", {}).items():
        for port in service.get("ports") or ():
            text = str(port.get("published") or "")
            if not text:
                continue
            first, _, last = text.partition("-")
            new = Published(
                name, port.get("protocol", "tcp"), int(first), int(last or first), port.get("host_ip", "")
            )
            other = next((known for known in found if known.meets(new)), None)
            if other is not None:
                raise Refused(
                    Reason.COMPOSE_INVALID,
                    f"services.{name}.ports publishes {text}/{new.protocol}, and so does"
                    f" services.{other.service}.ports; each port of the guest can be published once",
                )
            found.append(new)
    return found


def reachable(ports: list[Published], port: int, protocol: str) -> bool:
    """Whether a service publishes the port on an address that can be reached from outside of the guest."""
    return any(
        entry.first <= port <= entry.last
        and entry.protocol == protocol.lower()
        and not entry.address.startswith("127.")
        and entry.address != "::1"
        for entry in ports
    )
