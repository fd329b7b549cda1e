"""What the kernel can do for zones is tried, not guessed."""

import socket
import subprocess
from pathlib import Path

from dsecos_agent.links import probe

from .netns import own_network

OWN = Path("/proc/thread-self/ns/net")


def can(command: str) -> bool:
    """Whether `ip` can do it, in a namespace of its own."""
    with own_network():
        subprocess.run(["ip", "link", "add", "lower", "type", "bridge"], check=True)
        return subprocess.run(["ip", *command.split()], check=False, capture_output=True).returncode == 0


def test_it_agrees_with_what_ip_can_do() -> None:
    assert probe.abilities() == {
        name
        for name, command in {
            "vxlan": "link add x type vxlan id 1 dstport 4789",
            "vlan": "link add link lower name x type vlan id 1",
            "ipv6": "-6 addr add 2001:db8::1/64 dev lower",
        }.items()
        if can(command)
    }


def test_it_leaves_nothing_behind() -> None:
    before = (OWN.readlink(), socket.if_nameindex())
    probe.abilities()
    assert (OWN.readlink(), socket.if_nameindex()) == before
