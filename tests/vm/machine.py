"""A machine with Debian's kernel and this machine's files, emulated: hardware virtualisation is not needed.

It sees the whole file system as it is here, read-only, and keeps what it changes in memory; only `shared` is
written to. It has no network but its own `lo`. A command takes about ten times as long as here.
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from dsecos_control_plane.settings import SOURCE

from tests.patience import Deadline
from tests.vm.initramfs import initramfs
from tests.vm.kernel import Kernel

SHARED = Path("/run/vm")
"""Where the guest has the folder `shared` of this machine."""
BOOT = 60.0
"""Seconds in which it is up: 6 to 10 were measured."""
TAIL = 60
"""Lines that are shown of a command that did not end, and of the console."""


class MachineError(Exception):
    """The guest did not boot, ended, or a command took longer than it may; it tells what was written."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    output: str
    """Standard output and error."""


class Machine:
    """A context manager; boots with the first command, and again after one that took too long."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._stack = ExitStack()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._answers = b""
        self._number = 0

    def __enter__(self) -> Machine:
        self.shared = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dsecos-vm-")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._stack.close()

    def stop(self) -> None:
        """At once, as if by its power; nothing but `shared` is kept."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.communicate()
            self._qemu = None

    def run(self, *argv: str | Path, within: float, env: dict[str, str] | None = None) -> Done:
        """Run a command as root in the checkout; `within` seconds, as tests/patience.py counts them.

        Raises MachineError.
        """
        if self._qemu is None:
            self._boot()
        self._number += 1
        number = str(self._number)
        folder = self.shared / number
        folder.mkdir()
        variables = [f"{name}={value}" for name, value in (env or {}).items()]
        words = shlex.join(["env", *variables, *map(str, argv)])
        (folder / "command").write_text(f"cd {shlex.quote(str(SOURCE))} && exec {words}\n")
        answer = self._ask(number, within, f"{words} had not ended", folder / "output")
        told, code = answer.split()
        assert told == number, answer
        return Done(int(code), (folder / "output").read_text(errors="replace"))

    def _boot(self) -> None:
        first = self.shared / "initramfs"
        first.write_bytes(initramfs(self._kernel.modules))
        self._answers = b""
        with (self.shared / "qemu").open("w") as errors:
            self._qemu = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command(first)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        answer = self._ask(None, BOOT, "it was not up")
        assert answer == "ready", answer

    def _command(self, first: Path) -> list[str]:
        # One processor: two wait for each other longer than they gain, and others want ours too.
        hardware = "-machine q35 -accel tcg -cpu max -smp 1 -m 2G -nodefaults -nic none -display none"
        words = "console=ttyS0 panic=-1 quiet mitigations=off"
        return [
            "qemu-system-x86_64",
            *hardware.split(),
            "-no-reboot",
            *("-kernel", f"{self._kernel.image}", "-initrd", f"{first}"),
            *("-append", f"{words} vm_modules={self._kernel.modules}"),
            *("-serial", f"file:{self.shared / 'console'}", "-serial", "stdio"),
            *_files("host", Path("/"), ",readonly=on"),
            *_files("shared", self.shared),
        ]

    def _ask(self, order: str | None, within: float, what: str, output: Path | None = None) -> str:
        """One line to it, one line from it."""
        assert self._qemu is not None
        assert self._qemu.stdin is not None
        assert self._qemu.stdout is not None
        if order is not None:
            self._qemu.stdin.write(f"{order}\n".encode())
            self._qemu.stdin.flush()
        deadline = Deadline(within)
        while b"\n" not in self._answers:
            if deadline.passed():
                raise self._failed(f"after {within:g} s {what}", output)
            if select.select([self._qemu.stdout], [], [], 1.0)[0]:
                some = os.read(self._qemu.stdout.fileno(), 65536)
                if not some:
                    raise self._failed("the machine ended", output)
                self._answers += some
        line, _, self._answers = self._answers.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _failed(self, why: str, output: Path | None) -> MachineError:
        self.stop()
        told = (output, self.shared / "console", self.shared / "qemu")
        return MachineError("\n".join([why, *(line for file in told for line in _tail(file))]))


def _files(name: str, folder: Path, more: str = "") -> list[str]:
    """Options of QEMU for a folder that the guest mounts by this name."""
    share = f"local,id={name},path={folder},security_model=none,multidevs=remap{more}"
    return ["-fsdev", share, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]


def _tail(file: Path | None) -> list[str]:
    if file is None or not file.exists():
        return []
    return [f"-- {file.name}", *file.read_text(errors="replace").splitlines()[-TAIL:]]
