"""A small world: this namespace is the node, and each other one is a neighbour on a link of its own.

The node is .1 and the neighbour .2 of 10.9.<n>.0/24 and fd09:<n>::/64.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ..links.netns import Namespace, ip  # noqa: TID252 - tests have no package to name

TALK = Path(__file__).with_name("talk.py")


class Try(NamedTuple):
    """A packet to a port of one family."""

    protocol: str
    port: int = 0
    family: int = 4


class Neighbour:
    """One namespace, its link, and what is started in it."""

    def __init__(self, number: int) -> None:
        self.namespace = Namespace()
        self._processes: list[subprocess.Popen[str]] = []
        self.number = number
        self.four, self.six = f"10.9.{number}.2", f"fd09:{number}::2"
        self.node_four, self.node_six = f"10.9.{number}.1", f"fd09:{number}::1"
        self.namespace.veth(f"lan{number}")
        ip(f"link set lan{number} up")
        ip(f"addr add {self.node_four}/24 dev lan{number}")
        ip(f"addr add {self.node_six}/64 dev lan{number} nodad")
        self.namespace.ip(f"addr add {self.four}/24 dev eth0")
        self.namespace.ip(f"addr add {self.six}/64 dev eth0 nodad")

    def serve(self, *tcp: int, udp: tuple[int, ...] = (), certificate: Path | str = "") -> None:
        """Until the end."""
        argv = [sys.executable, str(TALK), "serve", json.dumps([list(tcp), list(udp), str(certificate)])]
        process = subprocess.Popen(self.namespace.argv(*argv), stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"

    def nft(self, commands: str) -> None:
        """Rules over there."""
        argv = self.namespace.argv("nft", commands)
        subprocess.run(argv, check=True)

    def reaches(self, *tries: Try) -> list[str]:
        """What becomes of packets from there to the node."""
        orders = [self._order(each, self.node_four, self.node_six) for each in tries]
        return self._talk(self.namespace.argv(sys.executable, str(TALK), "probe", json.dumps(orders)))

    def reached(self, *tries: Try) -> list[str]:
        """What becomes of packets from the node to there."""
        orders = [self._order(each, self.four, self.six) for each in tries]
        return self._talk([sys.executable, str(TALK), "probe", json.dumps(orders)])

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.namespace.close()

    @staticmethod
    def _order(one: Try, four: str, six: str) -> dict[str, object]:
        return {"protocol": one.protocol, "port": one.port, "host": four if one.family == 4 else six}

    @staticmethod
    def _talk(argv: list[str]) -> list[str]:
        return list(json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, timeout=60).stdout))


class NodeServer:
    """Listens on the node itself."""

    def __init__(self, *tcp: int, udp: tuple[int, ...] = (), certificate: Path | str = "") -> None:
        argv = [sys.executable, str(TALK), "serve", json.dumps([list(tcp), list(udp), str(certificate)])]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "serving\n"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
