"""Another machine beside this one: network and directories of its own under the same names."""

import asyncio
import os
import socket
import subprocess
import threading
from pathlib import Path

from ..links.netns import enter  # noqa: TID252 - node-agent is no name to be imported


class Machine:
    """Namespaces that a process keeps; `home` there is `own` here."""

    def __init__(self, home: Path, own: Path) -> None:
        aside = own / "sys"
        aside.mkdir()
        prepare = (
            # /sys/class/net shows the links of the namespace that sysfs was mounted in; liblxc looks there.
            f"mount --rbind /sys {aside}; mount -t sysfs sysfs /sys;"
            f" mount --rbind {aside}/fs/cgroup /sys/fs/cgroup; umount -l {aside}; rmdir {aside};"
            f" ip link set lo up; mount --bind {own} {home}; echo; exec sleep 100000"
        )
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "sh", "-ec", prepare],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self.pid = self._holder.pid

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def argv(self, *command: str) -> tuple[str, ...]:
        """A command that runs there, at most as long as we do."""
        into = ("nsenter", "--net", "--mount", "--target", str(self.pid), "--")
        return ("setpriv", "--pdeathsig", "KILL", *into, *command)

    def lead(self, port: int) -> None:
        """Connections to this port of its 127.0.0.1 come to the same port of ours."""
        made: list[socket.socket] = []

        def listen() -> None:  # a thread of its own: it does not come back from there
            there = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
            enter(there)
            os.close(there)
            made.append(socket.create_server(("127.0.0.1", port)))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        threading.Thread(target=lambda: asyncio.run(_lead(made[0], port)), daemon=True).start()


async def _lead(listener: socket.socket, port: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    server = await asyncio.start_server(accept, sock=listener)
    async with server:
        await server.serve_forever()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
