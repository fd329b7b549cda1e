"""A node with zones and a guest in each, and resolvers that it asks; all in namespaces of the test's own."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address

from dsecos_agent.names.model import Address, Zone

from tests.network.namespaces import Space

from ..links.netns import ip  # noqa: TID252 - tests have no package to name
from .query import Answer, asked, exchange, parse, pointer, question, reply


def addresses(*texts: str) -> tuple[Address, ...]:
    return tuple(ip_address(text) for text in texts)


class Bridge:
    """Zone `number`: 10.<number>.0.0/24 and fd00:<number>::/64, guest at .5."""

    def __init__(self, number: int) -> None:
        self.name, self.port = f"dnz{number}", f"dng{number}"
        self.gateways = addresses(f"10.{number}.0.1", f"fd00:{number}::1")
        self.guest = Guest()
        self.make()
        ip(f"link add {self.port} type veth peer eth0 netns {self.guest.space.path}")
        self.guest.space.ip(
            "link set eth0 up",
            f"addr add 10.{number}.0.5/24 dev eth0",
            f"addr add fd00:{number}::5/64 dev eth0 nodad",
            f"route add default via 10.{number}.0.1",
        )
        self.plug()

    def make(self) -> None:
        ip(f"link add {self.name} type bridge")
        for gateway in self.gateways:
            length, nodad = (24, "") if gateway.version == 4 else (64, " nodad")
            ip(f"addr add {gateway}/{length} dev {self.name}{nodad}")
        ip(f"link set {self.name} up")

    def plug(self) -> None:
        ip(f"link set {self.port} master {self.name} up")

    def delete(self) -> None:
        ip(f"link del {self.name}")

    def zone(self, forwards: bool = False, **hosts: str) -> Zone:
        """Names are short here: `shop=...` is shop.acme.dsecos.internal, `web_shop` web.shop.acme..."""
        full = {f"{name.replace('_', '.')}.acme.dsecos.internal": given for name, given in hosts.items()}
        return Zone(
            bridge=self.name,
            gateways=self.gateways,
            hosts={name: addresses(*given.split()) for name, given in full.items()},
            forwards=forwards,
        )

    def ask(self, name: str, kind: str = "A", tcp: bool = False, six: bool = False) -> Answer:
        """The zone's guest asks its gateway."""
        return self.guest.ask(name, kind, server=str(self.gateways[six]), tcp=tcp)

    def reverse(self, address: str) -> Answer:
        return self.ask(pointer(address), "PTR")


class Guest:
    def __init__(self) -> None:
        self.space = Space()

    def ask(
        self,
        name: str,
        kind: str = "A",
        *,
        server: str,
        tcp: bool = False,
        chaos: bool = False,
        time_limit: float = 20.0,
    ) -> Answer:
        with self.socket(server, tcp) as end:
            return parse(exchange(end, question(name, kind, chaos), server, time_limit))

    def socket(self, server: str, tcp: bool) -> socket.socket:
        with self.space.entered():
            return socket.socket(
                socket.AF_INET6 if ":" in server else socket.AF_INET,
                socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM,
            )


class Upstream:
    """A resolver beyond the node: 192.0.2.2, which knows every name."""

    ADDRESS = "198.51.100.7"

    def __init__(self) -> None:
        self.space = Space()
        self.asked: list[str] = []
        ip(f"link add dnup type veth peer eth0 netns {self.space.path}")
        ip("addr add 192.0.2.1/24 dev dnup")
        ip("link set dnup up")
        self.space.ip("link set eth0 up", "addr add 192.0.2.2/24 dev eth0")
        with self.space.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(("192.0.2.2", 53))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            packet, peer = self._socket.recvfrom(4096)
            if not packet:
                return
            self.asked.append(asked(packet))
            self._socket.sendto(reply(packet, self.ADDRESS), peer)

    def close(self) -> None:
        with self.space.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", ("192.0.2.2", 53))
        self._thread.join()
        self._socket.close()
        self.space.close()
