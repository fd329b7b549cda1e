"""Runs in a network namespace and does there what it is told, a line of JSON at a time: listen, connect,
send.
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


def serve_tcp(port: int) -> None:
    server = socket.create_server(("0.0.0.0", port), backlog=64)

    def loop() -> None:
        while True:
            connection, peer = server.accept()
            threading.Thread(target=answer, args=(connection, peer[0]), daemon=True).start()

    def answer(connection: socket.socket, peer: str) -> None:
        # Says who came, then echoes, so that a connection can be kept open and tried again.
        with connection:
            try:
                connection.sendall(peer.encode().ljust(16))
                while data := connection.recv(64):
                    connection.sendall(data)
            except OSError:
                pass

    threading.Thread(target=loop, daemon=True).start()


def serve_udp(port: int) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", port))

    def loop() -> None:
        while True:
            _, peer = server.recvfrom(64)
            server.sendto(peer[0].encode(), peer)

    threading.Thread(target=loop, daemon=True).start()


KEPT: dict[str, socket.socket] = {}


def connect(order: dict[str, object]) -> str:
    kind = socket.SOCK_STREAM if order["protocol"] == "tcp" else socket.SOCK_DGRAM
    try:
        end = socket.socket(socket.AF_INET, kind)
        end.settimeout(float(str(order["limit"])))
        if order.get("source"):
            end.bind((str(order["source"]), 0))
        end.connect((str(order["host"]), int(str(order["port"]))))
        if kind == socket.SOCK_DGRAM:
            end.send(b"?")
        seen = end.recv(16).decode().strip()
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
        return end.recv(16).decode().strip()
    except TimeoutError:
        return "silence"
    except OSError as error:
        return error.strerror or str(error)


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
                case _:
                    result = again(order)
            say({"id": order["id"], "result": result})

        pool.submit(work)


if __name__ == "__main__":
    main()
