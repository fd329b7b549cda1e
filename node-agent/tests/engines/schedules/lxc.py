"""A host's share for LXC guests: an lxcpath on a small file system, a bridge, ids, a few foreign containers.

What is there is read from /proc, the cgroups and the links: only these guests' processes have these ids.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from dsecos_agent.engines.lxc import LxcEngine
from dsecos_agent.engines.lxc.subids import IdRange, Subids
from dsecos_agent.engines.model import (
    Capabilities,
    GuestConfig,
    GuestKind,
    GuestState,
    IdMap,
    Limits,
    NetworkInterface,
    RootDirectory,
)

from tests.patience import Deadline

from ..conftest import make_rootfs  # noqa: TID252 - node-agent is no name that can be imported
from .model import Vocabulary, Wanted

IDS = 3_200_000_000
COUNT = 65536
SLOTS = 8
OWNER = "5e0f6b8e-0000-4000-8000-000000000001"
ALIEN = 5
"""Its slot among the ranges of ids; those of our guests begin at 0."""
HOME = "dsch"
SETTLE = 10.0
"""Seconds for what the kernel does when a guest has ended."""

INIT = """\
#!/bin/sh
exec 9>>/lock
flock -n 9 || echo doubled >>/doubled
echo booted >>/boots
trap 'exit 0' USR2
while :; do sleep 100000 9>&- & wait; done
"""
"""Holds a lock for as long as it lives, so that a second one beside it is found out, however short it was."""

FAULTS = {
    "init killed": 4,
    "monitor killed": 3,
    "config changed": 2,
    "config removed": 2,
    "owner lost": 1,
    "frozen by hand": 2,
    "thawed by hand": 1,
    "started by hand": 2,
    "stopped by hand": 2,
    "disk full": 2,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A process of a guest."""

    pid: int
    namespace: str
    """Of its pids."""
    init: bool
    line: str
    """Its command."""


def _command(path: Path) -> str:
    return (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _processes(base: int, count: int = COUNT) -> list[Found]:
    """Those whose user is of this id range."""
    found = []
    for path in (path for path in Path("/proc").iterdir() if path.name.isdigit()):
        with suppress(OSError):
            if not base <= path.stat().st_uid < base + count:
                continue
            pids = re.search(r"^NSpid:\s+(.*)$", (path / "status").read_text(), re.MULTILINE)
            inner = pids[1].split()[-1] if pids else ""
            namespace = str((path / "ns/pid").readlink())
            if not re.search(r"^State:\s+[ZX]", (path / "status").read_text(), re.MULTILINE):
                found.append(Found(int(path.name), namespace, inner == "1", _command(path)))
    return found


def _until(true: Callable[[], bool], limit: float = SETTLE) -> bool:
    deadline = Deadline(limit)
    while not true():
        if deadline.passed():
            return False
        time.sleep(0.005)
    return True


def _tool(*argv: str | Path, check: bool = False) -> None:
    subprocess.run(argv, check=check, capture_output=True, timeout=60)


def sweep(folder: Path) -> None:
    """Take away what a run that was killed left behind."""
    for home in folder.glob(f"{HOME}*"):
        for process in _processes(IDS, COUNT * SLOTS * 64):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        for memory in ("subids.json", "alien.json"):
            for line in re.findall(r"root:(\d+):(\d+)", _text(home / "run" / memory)):
                Subids(IdRange(int(line[0]), int(line[1])), home / "run" / memory).release()
        _tool("umount", "-l", home / "lxc")
        shutil.rmtree(home, ignore_errors=True)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


class LxcWorld:
    """One of several that may lie side by side; `number` tells them apart."""

    owner = OWNER
    rounds = 40

    def __init__(self, home: Path, number: int) -> None:
        """Make root file systems, a bridge and two guests that are not ours."""
        self._home = home
        self._ids = IdRange(IDS + number * SLOTS * COUNT, SLOTS * COUNT)
        self._bridge = f"dsch{number}"
        self._prefix = f"dsch{number}-"
        self._lxc = home / "lxc"
        self._lxc.mkdir(mode=0o711, parents=True)
        home.chmod(0o711)
        _tool("mount", "-t", "tmpfs", "-o", "size=1M,mode=711", "dsecos-schedules", self._lxc, check=True)
        _tool("ip", "link", "del", self._bridge)
        _tool("ip", "link", "add", self._bridge, "type", "bridge", check=True)
        _tool("ip", "link", "set", self._bridge, "up", check=True)
        # Control groups are named after the guest alone, so worlds side by side share no name.
        self._names = tuple(f"s{number}-{name}" for name in ("one", "two", "three"))
        self._alien, self._stranger = f"s{number}-alien", f"s{number}-stranger"
        for name in (*self._names, self._alien):
            _make_root(self._root(name))
        self._reserved = [
            Subids(self._ids, home / "run" / "subids.json"),
            Subids(IdRange(self._base(self._alien), COUNT), home / "run" / "alien.json"),
        ]
        self._damaged: dict[str, str] = {}
        self._asked: dict[str, int] = {}
        self._foreign: dict[str, str] = {}
        self._alien_inits: list[Found] = []

    # For the engine's process

    def engine(self) -> LxcEngine:
        """A new engine."""
        return LxcEngine(self._lxc, self._home / "run", self._ids)

    def config(self, name: str, wanted: Wanted) -> GuestConfig:
        """A guest with a port on the bridge."""
        number = self._number(name)
        port = NetworkInterface(
            host_name=f"{self._prefix}{number}",
            bridge=self._bridge,
            mac=f"02:00:00:00:00:{number:02x}",
            address=IPv4Interface(f"10.250.0.{number + 2}/24"),
            gateway=None,
        )
        return GuestConfig(
            name=name,
            owner_uid=OWNER,
            root=RootDirectory(self._root(name)),
            id_map=IdMap(self._base(name)),
            hostname=wanted.hostname,
            interfaces=(port,),
            limits=Limits(cpu_millis=500, memory_bytes=wanted.memory, pids=50),
            halt_signal="SIGUSR2",
        )

    # For the player

    def vocabulary(self, capabilities: Capabilities) -> Vocabulary:
        """Containers, and nowhere to move them to."""
        return Vocabulary(
            dict.fromkeys(self._names, GuestKind.CONTAINER), capabilities, FAULTS, kill_within=5
        )

    def reset(self) -> None:
        """Take away by force what schedules left."""
        self.heal()
        self._raze(self._names)
        self._asked = dict.fromkeys(self._names, 0)
        if not self._alien_inits:
            self._settle_foreigners()

    def fault(self, name: str, guest: str, number: int) -> bool:
        """Let it happen; whether it hit anything."""
        method: Callable[[str, int], bool] = getattr(self, "_" + name.replace(" ", "_"))
        return method(guest, number)

    def struck(self) -> Mapping[str, int]:
        """Nothing comes by chance here."""
        return {}

    def heal(self) -> None:
        """Make room on the disk, and give a guest whose owner was scratched out back to him."""
        (self._lxc / "ballast").unlink(missing_ok=True)
        for name, text in self._damaged.items():
            path = self._lxc / name / "config"
            if path.exists():
                path.write_text(text)
        self._damaged.clear()

    def quiet(self) -> bool:
        """Wait for tools that outlived the engine that called them."""
        were = bool(self._tools())
        _until(lambda: not self._tools(), 30)
        return were

    def watch(self, starts: Mapping[str, int]) -> list[str]:
        """Init runs at most once for each start that was asked for, and never beside another one."""
        found = []
        for name in self._names:
            self._asked[name] += starts.get(name, 0)
            boots = (self._root(name) / "boots").read_text().count("\n")
            if boots > self._asked[name]:
                found.append(f"{name} was started {boots} times, asked for {self._asked[name]} times")
            if (self._root(name) / "doubled").exists():
                found.append(f"{name} ran twice at the same time")
        return found

    def violations(self, wanted: Mapping[str, Wanted]) -> list[str]:
        """What is not as declared, and what is there beside it."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [
                *self._beside(wanted),
                *(text for name in self._names for text in self._judge(name, wanted)),
            ]
            return not found

        # The kernel takes links and cgroups away a moment after a guest has ended.
        _until(look, 3)
        return found + self._foreign_touched()

    def close(self) -> None:
        """Take away the world."""
        self._raze((*self._names, self._alien))
        for reserved in self._reserved:
            reserved.release()
        _tool("umount", "-l", self._lxc)
        _tool("ip", "link", "del", self._bridge)
        shutil.rmtree(self._home, ignore_errors=True)

    # Looking

    def _root(self, name: str) -> Path:
        return self._home / "rootfs" / name

    def _number(self, name: str) -> int:
        return ALIEN if name == self._alien else self._names.index(name)

    def _base(self, name: str) -> int:
        return self._ids.base + self._number(name) * COUNT

    def _port(self, name: str) -> Path:
        return Path("/sys/class/net") / f"{self._prefix}{self._number(name)}"

    def _inits(self, name: str) -> list[Found]:
        return [process for process in _processes(self._base(name)) if process.init]

    def _command_lines(self) -> Iterator[tuple[int, str]]:
        for path in (path for path in Path("/proc").iterdir() if path.name.isdigit()):
            with suppress(OSError):
                line = _command(path)
                if str(self._lxc) in line:
                    yield int(path.name), line

    def _monitors(self, name: str) -> list[int]:
        wanted = f"[lxc monitor] {self._lxc} {name}"
        return [pid for pid, line in self._command_lines() if line.strip() == wanted]

    def _tools(self) -> list[str]:
        return [line for _, line in self._command_lines() if not line.startswith("[lxc monitor]")]

    def _groups(self, name: str) -> list[Path]:
        pattern = re.compile(rf"lxc\.(payload|monitor)\.{name}(-\d+)?")
        roots = [path for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir() and not path.is_symlink()]
        found = (path for root in [Path("/sys/fs/cgroup"), *roots] for path in root.glob(f"lxc.*.{name}*"))
        return [path for path in found if pattern.fullmatch(path.name)]

    def _beside(self, wanted: Mapping[str, Wanted]) -> Iterator[str]:
        there = {name for name in self._names if wanted.get(name, Wanted()).state is not None}
        directories = {path.name for path in self._lxc.iterdir() if path.is_dir()}
        for name in sorted(directories - there - set(self._foreign)):
            left = sorted(path.name for path in (self._lxc / name).iterdir())
            yield f"the directory of {name} is left, with {left}"
        for name in sorted(there):
            extra = {path.name for path in (self._lxc / name).glob("*")} - {"config", "booted", "lxc.log"}
            if extra:
                yield f"{sorted(extra)} in the directory of {name}"
        loose = {path.name for path in self._lxc.iterdir() if not path.is_dir()} - {"guest.seccomp"}
        if loose:
            yield f"{sorted(loose)} in the lxcpath"

    def _judge(self, name: str, wanted: Mapping[str, Wanted]) -> Iterator[str]:
        want = wanted.get(name, Wanted())
        alive = want.state in {GuestState.RUNNING, GuestState.SUSPENDED}
        processes = _processes(self._base(name))
        inits = [process for process in processes if process.init]
        spaces = {process.namespace for process in processes}
        groups = {path.name for path in self._groups(name)}
        if want.state is GuestState.STOPPED:
            # A killed monitor leaves empty ones, which go with the next start, stop or destroy.
            groups = {path.name for path in self._groups(name) if (path / "cgroup.procs").read_text()}
        port = self._port(name).exists()
        if want.state is not None and not (self._lxc / name / "config").exists():
            yield f"{name} has no configuration"
        if len(inits) != int(alive) or len(spaces) != int(alive):
            lines = [process.line for process in processes]
            yield f"{name} has {len(inits)} inits in {len(spaces)} namespaces: {lines}"
        if port != alive:
            yield f"{name} has {'a' if port else 'no'} port"
        if not alive and groups:
            yield f"{name} is {want.state or 'absent'} and has cgroups {sorted(groups)}"
        if not alive and self._monitors(name):
            yield f"{name} is {want.state or 'absent'} and has a monitor"
        if alive and (groups - {f"lxc.monitor.{name}"} != {f"lxc.payload.{name}"}):
            yield f"{name} has cgroups {sorted(groups)}"
        if alive and len(self._monitors(name)) > 1:
            yield f"{name} has {len(self._monitors(name))} monitors"
        if alive and len(inits) == 1:
            yield from self._judge_life(name, inits[0].pid, want)

    def _judge_life(self, name: str, pid: int, want: Wanted) -> Iterator[str]:
        frozen = self._cgroup(pid, "freezer", "freezer.state", "cgroup.freeze") in {"FROZEN", "1"}
        if frozen != (want.state is GuestState.SUSPENDED):
            yield f"{name} is {'frozen' if frozen else 'not frozen'}, declared {want.state}"
        memory = self._cgroup(pid, "memory", "memory.limit_in_bytes", "memory.max")
        if memory != str(want.memory):
            yield f"{name} may use {memory} bytes of memory, declared {want.memory}"
        hostname = subprocess.run(
            ["nsenter", "-t", str(pid), "-u", "hostname"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if hostname != want.hostname:
            yield f"{name} calls itself {hostname}, declared {want.hostname}"

    @staticmethod
    def _cgroup(pid: int, controller: str, first: str, second: str) -> str:
        """A value of either version of control groups."""
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
                _, controllers, path = line.split(":", 2)
                if controller in controllers.split(","):
                    group = Path("/sys/fs/cgroup") / controller / path.lstrip("/")
                    return (group / first).read_text().strip()
                if controllers == "" and (Path("/sys/fs/cgroup") / "cgroup.controllers").exists():
                    return (Path("/sys/fs/cgroup") / path.lstrip("/") / second).read_text().strip()
        return "?"

    # What is not ours

    def _settle_foreigners(self) -> None:
        base = self._base(self._alien)
        root = self._root(self._alien)
        self._foreign = {
            self._alien: f"lxc.uts.name = alien\nlxc.rootfs.path = dir:{root}\n"
            f"lxc.rootfs.options = idmap=container\nlxc.idmap = u 0 {base} {COUNT}\n"
            f"lxc.idmap = g 0 {base} {COUNT}\nlxc.net.0.type = empty\n",
            self._stranger: "# dsecos.io/owner-uid = somebody-else\nlxc.uts.name = stranger\n",
        }
        for name, text in self._foreign.items():
            (self._lxc / name).mkdir()
            (self._lxc / name / "config").write_text(text)
        self._reserved[1].reserve()
        self._by_hand("lxc-start", self._alien, "-d")
        self._alien_inits = self._inits(self._alien)
        assert len(self._alien_inits) == 1, "the foreign container runs"

    def _foreign_touched(self) -> list[str]:
        same = self._inits(self._alien) == self._alien_inits
        found = [] if same else ["the foreign container is not as it was"]
        for name, text in self._foreign.items():
            path = self._lxc / name / "config"
            if not path.exists() or path.read_text() != text:
                found.append(f"the configuration of the foreign {name} was changed")
        return found

    # Faults

    def _init_killed(self, guest: str, number: int) -> bool:
        # An init that is killed while liblxc still sets it up leaves, rarely, a monitor that waits for ever,
        # which nobody here ends: known, and not among these faults.
        _until(lambda: not self._tools(), 5)
        inits = self._inits(guest)
        for process in inits:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if number % 2:
            _until(lambda: not self._inits(guest))
        return bool(inits)

    def _monitor_killed(self, guest: str, number: int) -> bool:
        monitors = self._monitors(guest)
        for pid in monitors:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(monitors)

    def _config_changed(self, guest: str, number: int) -> bool:
        path = self._lxc / guest / "config"
        if not path.exists():
            return False
        line = ("lxc.cgroup.pids.max = 7\n", "lxc.start.auto = 1\n", "# by hand\n")[number % 3]
        path.write_text(path.read_text() + line)
        return True

    def _config_removed(self, guest: str, number: int) -> bool:
        path = self._lxc / guest / "config"
        if not path.exists():
            return False
        path.unlink()
        return True

    def _owner_lost(self, guest: str, number: int) -> bool:
        path = self._lxc / guest / "config"
        if not path.exists() or guest in self._damaged:
            return False
        text = path.read_text()
        self._damaged[guest] = text
        path.write_text(text.split("\n", 1)[1])
        return True

    def _by_hand(self, program: str, guest: str, *options: str) -> None:
        _tool(program, "-P", self._lxc, "-n", guest, *options)

    def _frozen_by_hand(self, guest: str, number: int) -> bool:
        self._by_hand("lxc-freeze", guest)
        return bool(self._inits(guest))

    def _thawed_by_hand(self, guest: str, number: int) -> bool:
        self._by_hand("lxc-unfreeze", guest)
        return bool(self._inits(guest))

    def _started_by_hand(self, guest: str, number: int) -> bool:
        if self._inits(guest) or not (self._lxc / guest / "config").exists():
            return False
        self._by_hand("lxc-start", guest, "-d")
        return bool(self._inits(guest))

    def _stopped_by_hand(self, guest: str, number: int) -> bool:
        if not self._inits(guest):
            return False
        self._by_hand("lxc-stop", guest, "-k")
        return True

    def _disk_full(self, guest: str, number: int) -> bool:
        ballast = self._lxc / "ballast"
        if ballast.exists():
            ballast.unlink()
            return False
        with suppress(OSError), ballast.open("wb") as out:
            while True:
                out.write(bytes(4096))
                out.flush()
        return True

    # Taking away

    def _raze(self, names: Iterable[str]) -> None:
        for pid, line in list(self._command_lines()):
            if line.split()[-1] in names or any(f" -n {name} " in line for name in names):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for name in names:
            for group in self._groups(name):
                for file, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                    if (group / file).exists():
                        (group / file).write_text(value)
            for process in _processes(self._base(name)):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        for name in names:
            assert _until(lambda: not _processes(self._base(name))), f"{name} survives"  # noqa: B023
            for group in self._groups(name):
                for folder, _, _ in os.walk(group, topdown=False):
                    with suppress(OSError):
                        Path(folder).rmdir()
            if self._port(name).exists():
                _tool("ip", "link", "del", self._port(name).name)
            shutil.rmtree(self._lxc / name, ignore_errors=True)
            (self._root(name) / "boots").write_text("")
            (self._root(name) / "doubled").unlink(missing_ok=True)


def _make_root(root: Path) -> None:
    """The tiny root file system of the engines' tests, with our init and the real flock."""
    make_rootfs(root)
    (root / "sbin/init").unlink()
    (root / "sbin/init").write_text(INIT)
    (root / "sbin/init").chmod(0o755)
    told = subprocess.run(["ldd", "/usr/bin/flock"], capture_output=True, text=True, check=True).stdout
    for path in ["/usr/bin/flock", *re.findall(r"(/\S+) \(0x", told)]:
        target = root / ("bin/flock" if path.endswith("flock") else path.lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    (root / "boots").touch()
