"""Runs in a network namespace and does there what it is told, a line of JSON at a time: listen, connect,
send, in IPv4 and IPv6.
"""

import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

LOCK = threading.Lock()


def say(answer: dict[str, object]) -> None:
    with LOCK:
        print(json.dumps(answer), flush=True)


ADDRESS = 48
"""Octets in which an address is told."""


def serve_tcp(port: int) -> None:
    server = socket.create_server(("::", port), family=socket.AF_INET6, backlog=64, dualstack_ipv6=True)

    def loop() -> None:
        while True:
            connection, peer = server.accept()
            threading.Thread(target=answer, args=(connection, peer[0]), daemon=True).start()

    def answer(connection: socket.socket, peer: str) -> None:
        # Says who came, then echoes, so that a connection can be kept open and tried again.
        with connection:
            try:
                connection.sendall(plain(peer).ljust(ADDRESS))
                while data := connection.recv(64):
                    connection.sendall(data)
            except OSError:
                pass

    threading.Thread(target=loop, daemon=True).start()


HEARD: list[str] = []
"""What came by UDP."""
NEWS = threading.Condition()


def serve_udp(port: int) -> None:
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", port))

    def loop() -> None:
        while True:
            data, peer = server.recvfrom(64)
            with NEWS:
                HEARD.append(data.decode())
                NEWS.notify_all()
            server.sendto(plain(peer[0]), peer)

    threading.Thread(target=loop, daemon=True).start()


def plain(address: str) -> bytes:
    return address.removeprefix("::ffff:").encode()


def heard(last: str) -> str:
    """All of it, as soon as `last` has come."""
    with NEWS:
        NEWS.wait_for(lambda: last in HEARD, timeout=20)
        return " ".join(HEARD)


KEPT: dict[str, socket.socket] = {}


def connect(order: dict[str, object]) -> str:
    kind = socket.SOCK_STREAM if order["protocol"] == "tcp" else socket.SOCK_DGRAM
    try:
        end = socket.socket(socket.AF_INET6 if ":" in str(order["host"]) else socket.AF_INET, kind)
        end.settimeout(float(str(order["limit"])))
        if order.get("source"):
            end.bind((str(order["source"]), 0))
        end.connect((str(order["host"]), int(str(order["port"]))))
        if kind == socket.SOCK_DGRAM:
            end.send(str(order.get("say") or "?").encode())
        seen = end.recv(ADDRESS).decode().strip()
        if order.get("keep"):
            KEPT[str(order["keep"])] = end
        else:
            end.close()
        return f"saw {seen}"
    except TimeoutError:
        return "silence"
    except OSError as error:
        return error.strerror or str(error)


def again(order: dict[str, object]) -> str:
    end = KEPT[str(order["keep"])]
    end.settimeout(float(str(order["limit"])))
    try:
        end.send(b"again")
        return end.recv(ADDRESS).decode().strip()
    except TimeoutError:
        return "silence"
    except OSError as error:
        return error.strerror or str(error)


def frame(order: dict[str, object]) -> str:
    """A whole frame, as it is."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as end:
        end.bind((str(order["link"]), 0))
        end.send(bytes.fromhex(str(order["data"])))
    return "sent"


def datagram(order: dict[str, object]) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(bytes.fromhex(str(order["data"])), (str(order["host"]), int(str(order["port"]))))
    return "sent"


def main() -> None:
    pool = ThreadPoolExecutor(64)
    for line in sys.stdin:
        order = json.loads(line)

        def work(order: dict[str, object] = order) -> None:
            match order["do"]:
                case "serve":
                    serve_tcp(order["port"]) if order["protocol"] == "tcp" else serve_udp(order["port"])  # type: ignore[arg-type]
                    result = "serving"
                case "connect":
                    result = connect(order)
                case "frame":
                    result = frame(order)
                case "datagram":
                    result = datagram(order)
                case "heard":
                    result = heard(str(order["last"]))
                case _:
                    result = again(order)
            say({"id": order["id"], "result": result})

        pool.submit(work)


if __name__ == "__main__":
    main()
