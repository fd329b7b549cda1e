"""What the kernel has of the firewall's tables, as nft lists it and octet by octet."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from dsecos_agent.firewall import netlink
from dsecos_agent.firewall.drift import VOLATILE_SETS, canonical

NFT_MSG_GETSETELEM = 13
TABLE, SET, ELEMENTS = 1, 2, 3
"""NFTA_SET_ELEM_LIST_..."""


def load(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def listing(instance: str) -> tuple[list[str], list[tuple[str, str, bytes]]]:
    """What nft lists of the kernel's tables, and each element as the octets that the kernel has: nft may list
    two as the same that no packet would take for the same.
    """
    raw = subprocess.run(["nft", "-j", "list", "ruleset"], check=True, capture_output=True).stdout
    found = [each for each in json.loads(raw)["nftables"] if "metainfo" not in each]
    # In the order of their words: the kernel lists objects as they came about.
    words = sorted(json.dumps(canonical(each), sort_keys=True) for each in found)
    collections = [each[kind] for each in found for kind in ("set", "map") if kind in each]
    octets = [
        (each["family"], each["name"], element)
        for each in collections
        if each["name"] not in VOLATILE_SETS and not by_nft_alone(each)
        for element in dump(instance, each["family"], each["name"])
    ]
    return words, sorted(octets)


def by_nft_alone(collection: Mapping[str, Any]) -> bool:
    """Intervals of one field: whether there is an end at zero, which matches nothing, depends on what was in
    the set before (nft 1.0.6).
    """
    return "interval" in collection.get("flags", ()) and isinstance(collection["type"], str)


def dump(instance: str, family: str, name: str) -> Iterator[bytes]:
    """Every element of a set or a map."""
    wanted = netlink.attribute(TABLE, f"{instance}\0".encode())
    wanted += netlink.attribute(SET, f"{name}\0".encode())
    for answer in netlink._ask(NFT_MSG_GETSETELEM, netlink.FAMILIES[family], wanted, netlink.NLM_F_DUMP):
        listed = answer.get(ELEMENTS, b"")
        while listed:
            length = netlink._aligned(int.from_bytes(listed[:2], "little"))
            yield listed[:length]
            listed = listed[length:]
