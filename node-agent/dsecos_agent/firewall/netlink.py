"""What nft(8) does not offer, or not cheaply, straight from the kernel (nfnetlink,
linux/netfilter/nf_tables.h).

The kernel raises the ruleset's generation with every committed transaction of anybody. As long as it is the
one that followed our own, nothing has changed and nothing has to be listed. Counters are read and elements
changed here too, because nft reads all that there is for either.
"""

import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dsecos_agent.links.events import NetlinkWatch

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETGEN, NFT_MSG_GETOBJ = 16, 19
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFNL_BATCH_GENID = 1
NFTA_GEN_ID = 1
NFTA_OBJ_TABLE, NFTA_OBJ_NAME, NFTA_OBJ_TYPE, NFTA_OBJ_DATA = 1, 2, 3, 4
NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS = 1, 2
NFT_OBJECT_COUNTER = 1
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 1, 4, 0x300, 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3
FAMILIES = {"inet": 1, "bridge": 7}

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
FAMILY = struct.Struct("!BBH")
"""struct nfgenmsg: family, version, resource."""
ATTRIBUTE = struct.Struct("=HH")
NUMBER = struct.Struct("!Q")
TYPE_MASK = 0x3FFF
BUFFER = 1 << 16
TIMEOUT = 5.0
ATTEMPTS = 10
"""How often a dump is begun again that somebody's change cut through."""


def generation() -> int:
    """Of the ruleset in our network namespace. Raises OSError."""
    for attributes in _ask(NFT_MSG_GETGEN, 0, b"", 0):
        return int.from_bytes(attributes[NFTA_GEN_ID], "big")
    raise OSError("the kernel does not tell the ruleset's generation")


def counters(family: str, table: str) -> dict[str, tuple[int, int]]:
    """Packets and bytes of every named counter of a table; none when there is no table. Raises OSError."""
    wanted = attribute(NFTA_OBJ_TABLE, table.encode() + b"\0")
    wanted += attribute(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER.to_bytes(4, "big"))
    for _ in range(ATTEMPTS):
        try:
            return dict(map(_counter, _ask(NFT_MSG_GETOBJ, FAMILIES[family], wanted, NLM_F_DUMP)))
        except InterruptedError:
            continue
    raise OSError("the ruleset changes faster than its counters can be read")


@dataclass(frozen=True, slots=True)
class Message:
    """One change of a table."""

    kind: int
    """`NFT_MSG_...`"""
    flags: int
    family: str
    attributes: bytes


def commit(messages: Sequence[Message], generation: int) -> None:
    """Carry out all of them in one transaction, or none if the ruleset is of another generation or one of
    them cannot be done. Raises OSError: then nothing was changed, or the kernel could not tell (ENOBUFS).
    """
    edge = FAMILY.pack(0, 0, NFNL_SUBSYS_NFTABLES)
    known = attribute(NFNL_BATCH_GENID, generation.to_bytes(4, "big"))
    parts = [_message(NFNL_MSG_BATCH_BEGIN, 0, edge + known)]
    for number, each in enumerate(messages, 1):
        flags = each.flags | (NLM_F_ACK if number == len(messages) else 0)
        body = FAMILY.pack(FAMILIES[each.family], 0, 0) + each.attributes
        parts.append(_message(NFNL_SUBSYS_NFTABLES << 8 | each.kind, flags, body))
    batch = b"".join((*parts, _message(NFNL_MSG_BATCH_END, 0, edge)))
    done = False
    with _kernel() as kernel:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(batch))
        kernel.send(batch)
        # All answers are there when the kernel has taken the batch; an error may come beside what was well.
        kernel.setblocking(False)
        while True:
            try:
                answers = list(_messages(kernel.recv(BUFFER)))
            except BlockingIOError:
                break
            for kind, _, payload in answers:
                if kind == NLMSG_ERROR:
                    _check(payload)
                    done = True
    if not done:
        raise OSError("the kernel does not answer to a change")


def watch_table(name: str, callback: Callable[[], None]) -> NetlinkWatch:
    """Call back when a table of this name, of any family, or something in it changes."""
    mark = name.encode() + b"\0"
    return NetlinkWatch(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,), lambda message: mark in message, callback)


def _counter(attributes: dict[int, bytes]) -> tuple[str, tuple[int, int]]:
    data = _attributes(attributes[NFTA_OBJ_DATA])
    packets, size = (NUMBER.unpack(data[kind])[0] for kind in (NFTA_COUNTER_PACKETS, NFTA_COUNTER_BYTES))
    return attributes[NFTA_OBJ_NAME].rstrip(b"\0").decode(), (packets, size)


def _ask(message: int, family: int, attributes: bytes, flags: int) -> Iterator[dict[int, bytes]]:
    """Attributes of each answer. Raises OSError, InterruptedError when a dump is not of one moment."""
    body = FAMILY.pack(family, 0, 0) + attributes
    with _kernel() as kernel:
        kernel.send(_message(NFNL_SUBSYS_NFTABLES << 8 | message, flags, body))
        while True:
            for kind, flagged, payload in _messages(kernel.recv(BUFFER)):
                if flagged & NLM_F_DUMP_INTR:
                    raise InterruptedError
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    _check(payload)
                yield _attributes(payload[FAMILY.size :])
                if not flags:
                    return


@contextmanager
def _kernel() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.settimeout(TIMEOUT)
        kernel.bind((0, 0))
        yield kernel


def _check(payload: bytes) -> None:
    """Of an acknowledgement. Raises OSError if it says that something was refused."""
    (code,) = struct.unpack_from("=i", payload)
    if code:
        raise OSError(-code, f"the kernel refuses: {os.strerror(-code)}")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while len(data) >= HEADER.size:
        length, kind, flags, _, _ = HEADER.unpack_from(data)
        yield kind, flags, data[HEADER.size : length]
        data = data[_aligned(length) :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        found[kind & TYPE_MASK] = data[ATTRIBUTE.size : length]
        data = data[max(ATTRIBUTE.size, _aligned(length)) :]
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One, filled up to where the next may begin."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value.ljust(_aligned(length) - ATTRIBUTE.size, b"\0")


def _aligned(length: int) -> int:
    return (length + 3) & ~3
