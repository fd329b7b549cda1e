"""Runs in a network namespace: tries what its arguments say, or serves ports until it is killed."""

import asyncio
import json
import os
import socket
import ssl
import struct
import sys
from typing import Any

DROPPED = 1.0
"""Seconds of silence after which a packet counts as dropped."""


def probe(order: dict[str, Any]) -> str:
    """One try: `answer`, `silence`, or the error."""
    host, kind = order["host"], order["protocol"]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if kind == "echo":
            return f"{echo(host, family, order['port'])} answers"
        with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as end:
            end.settimeout(DROPPED)
            end.connect((host, order["port"]))
            if kind == "udp":
                end.send(b"?")
                end.recv(16)
            return "answer"
    except TimeoutError:
        return "silence"
    except OSError as error:
        return os.strerror(error.errno or 0)


def echo(host: str, family: int, count: int) -> int:
    """How many of ICMP echo requests are answered (RFC 792, RFC 4443); the kernel does ICMPv6's checksum."""
    six = family == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    answers = 0
    with socket.socket(family, socket.SOCK_RAW, protocol) as end:
        end.settimeout(DROPPED)
        end.connect((host, 0))
        for number in range(count):
            checksum = 0 if six else 0xFFFF - (0x0800 + number)
            end.send(struct.pack("!BBHHH", 128 if six else 8, 0, checksum, 0, number))
        try:
            while answers < count:
                kind = end.recv(128)[0 if six else 20]
                answers += kind == (129 if six else 0)
        except TimeoutError:
            pass
    return answers


async def serve(tcp: list[int], udp: list[int], certificate: str) -> None:
    """Listen on all addresses of both families; TCP with TLS if there is a certificate (with its key)."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    for port in tcp:
        await asyncio.start_server(greet, ["0.0.0.0", "::"], port, ssl=context)
    for port in udp:
        await asyncio.get_running_loop().create_datagram_endpoint(Echo, ("::", port))
    print("serving", flush=True)
    await asyncio.Event().wait()


async def probe_all(orders: list[dict[str, Any]]) -> list[str]:
    """Side by side."""
    return list(await asyncio.gather(*(asyncio.to_thread(probe, each) for each in orders)))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(*json.loads(sys.argv[2])))
    print(json.dumps(asyncio.run(probe_all(json.loads(sys.argv[2])))))
