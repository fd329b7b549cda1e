"""The two things that libnftables does not offer: the ruleset's generation, and being told of changes
(nfnetlink).

The kernel raises the generation with every committed transaction of anybody (linux/netfilter/nf_tables.h,
NFT_MSG_GETGEN). As long as it is the one that followed our own, nothing has changed and nothing has to be
listed.
"""

import socket
import struct
from collections.abc import Callable

from dsecos_agent.links.events import NetlinkWatch

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWGEN, NFT_MSG_GETGEN = 15, 16
NFTA_GEN_ID = 1
NLM_F_REQUEST = 1
NLMSG_ERROR = 2

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
FAMILY = struct.Struct("!BBH")
"""struct nfgenmsg: family, version, resource."""
ATTRIBUTE = struct.Struct("=HH")
TIMEOUT = 5.0


def generation() -> int:
    """Of the ruleset in our network namespace. Raises OSError."""
    kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN
    request = HEADER.pack(HEADER.size + FAMILY.size, kind, NLM_F_REQUEST, 1, 0) + FAMILY.pack(0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.settimeout(TIMEOUT)
        kernel.bind((0, 0))
        kernel.send(request)
        answer = kernel.recv(4096)
    _, kind, *_ = HEADER.unpack_from(answer)
    if kind == NLMSG_ERROR:
        raise OSError(
            -struct.unpack_from("=i", answer, HEADER.size)[0], "the kernel does not tell its generation"
        )
    offset = HEADER.size + FAMILY.size
    while offset + ATTRIBUTE.size <= len(answer):
        length, kind = ATTRIBUTE.unpack_from(answer, offset)
        if kind & 0x3FFF == NFTA_GEN_ID:
            return int(struct.unpack_from("!I", answer, offset + ATTRIBUTE.size)[0])
        offset += max(ATTRIBUTE.size, (length + 3) & ~3)
    raise OSError("the kernel's answer has no generation")


def watch_table(name: str, callback: Callable[[], None]) -> NetlinkWatch:
    """Call back when a table of this name, of any family, or something in it changes."""
    mark = name.encode() + b"\0"
    return NetlinkWatch(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,), lambda message: mark in message, callback)
