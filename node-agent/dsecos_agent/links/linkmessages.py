"""Links as messages of rtnetlink(7) tell them: as far as bridges and their ports need it. Pure.

pyroute2 reads all that there is about a link, which takes milliseconds; a node may have thousands.
"""

import struct
from dataclasses import dataclass

from dsecos_agent.links.messages import parsed

_LINK = struct.Struct("=BxHiII")
_NUMBER = struct.Struct("=I")

_MAC, _NAME, _MTU, _MASTER, _INFO, _ALIAS = 1, 3, 4, 10, 18, 20
_SLAVE_DATA, _ISOLATED = 5, 33
"""linux/if_link.h: IFLA_*, IFLA_INFO_* and IFLA_BRPORT_*."""

_UP = 1


@dataclass(frozen=True, slots=True)
class Link:
    """One of the host's."""

    index: int
    name: str
    up: bool
    mtu: int
    mac: str
    master: int
    """Index of the bridge that it is a port of; 0: of none."""
    alias: str
    isolated: bool
    """From the bridge's other isolated ports."""


def all_links() -> bytes:
    """Asks for all links."""
    return _LINK.pack(0, 0, 0, 0, 0)


def link(body: bytes) -> Link:
    """A link that a message tells of."""
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = parsed(body, _LINK.size)
    port = parsed(parsed(found.get(_INFO, b""), 0).get(_SLAVE_DATA, b""), 0)
    return Link(
        index=index,
        name=_text(found.get(_NAME)),
        up=bool(flags & _UP),
        mtu=_number(found.get(_MTU)),
        mac=found.get(_MAC, b"").hex(":"),
        master=_number(found.get(_MASTER)),
        alias=_text(found.get(_ALIAS)),
        isolated=bool(port.get(_ISOLATED, b"\0")[0]),
    )


def _text(value: bytes | None) -> str:
    return (value or b"").split(b"\0")[0].decode(errors="replace")


def _number(value: bytes | None) -> int:
    return 0 if value is None else int(_NUMBER.unpack(value)[0])
