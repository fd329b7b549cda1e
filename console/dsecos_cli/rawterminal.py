"""A terminal whose keys all go to somebody else: raw mode, given back whatever happens.

Between the terminal and a websocket: binary frames are what is typed and shown, a text frame tells the
terminal's size.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import termios
import tty
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from websocket import WebSocket

ESCAPE = b"\x1d"
"""Ctrl-]: leaves, as in telnet(1) and virsh(1)."""
CHUNK = 65_536
"""Bytes that are read from the keyboard at once."""


@contextlib.contextmanager
def raw_mode(terminal: int) -> Iterator[None]:
    """Give every key to the program; on leaving, also by SIGTERM or SIGHUP, the terminal is as it was."""
    before = termios.tcgetattr(terminal)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(terminal)
        yield
    finally:
        # What was typed ahead belongs to the guest, not to the shell below.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def size_changes() -> Iterator[socket.socket]:
    """A socket that becomes readable when the terminal's size has changed (SIGWINCH)."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)

    def tell(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            writer.send(b"\0")

    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield reader
    finally:
        signal.signal(signal.SIGWINCH, before)
        reader.close()
        writer.close()


def size(terminal: int) -> tuple[int, int]:
    """Columns and rows; a terminal that does not know its own, such as a serial line, counts as 80 by 24."""
    columns, rows = os.get_terminal_size(terminal)
    return columns or 80, rows or 24


def converse(connection: WebSocket, keyboard: int, screen: int) -> str:
    """Pass keys to the other side and its output to the screen until Ctrl-], the end of input or its end.

    The reason that the other side gave for ending, empty if none.
    """
    from websocket import ABNF, WebSocketException  # noqa: PLC0415 - only the console needs it

    with raw_mode(keyboard), size_changes() as resized:
        peer = connection.fileno()  # type: ignore[no-untyped-call]
        while True:
            ready, _, _ = select.select([keyboard, peer, resized], [], [])
            try:
                if resized in ready:
                    resized.recv(CHUNK)
                    connection.send_text(json.dumps({"resize": size(keyboard)}))
                if keyboard in ready:
                    typed, escape, _ = os.read(keyboard, CHUNK).partition(ESCAPE)
                    if typed:
                        connection.send_binary(typed)
                    if escape or not typed:
                        return ""
                if peer in ready:
                    # With control frames, so that a ping does not make it wait for what follows.
                    opcode, data = connection.recv_data(control_frame=True)
                    if opcode == ABNF.OPCODE_CLOSE:
                        return bytes(data[2:]).decode(errors="replace")
                    if opcode == ABNF.OPCODE_BINARY:
                        _write(screen, data)
            except (WebSocketException, OSError) as error:
                return str(error)


def _write(screen: int, data: bytes) -> None:
    while data:
        data = data[os.write(screen, data) :]


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
