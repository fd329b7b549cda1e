"""Processes as hardened systemd units, for hosts whose PID 1 is systemd."""

import re
from collections.abc import Sequence
from pathlib import Path

from dsecos_control_plane.backend import LOG_LINES, State, privileged_argv
from dsecos_control_plane.command import run
from dsecos_control_plane.files import write
from dsecos_control_plane.processes import PATH, Process
from dsecos_control_plane.settings import Settings

UNITS = Path("/etc/systemd/system")

SANDBOX = """\
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SETPCAP
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
"""
"""For a service that speaks to others over sockets and writes to its own folder. The three capabilities are
what setpriv(1) needs to give up all of them; the service itself has none.
"""

PLAIN = """\
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
SystemCallFilter=@system-service
"""

SANDBOXING = """\
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallFilter=@system-service @mount
"""
"""For a service that runs bubblewrap, which makes namespaces, mounts in them, and brings up their loopback
link. RestrictSUIDSGID= would take openat2(2) away, with which bubblewrap since 0.11 makes its folders.
"""

AGENT = """\
Delegate=yes
OOMScoreAdjust=-500
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_TIME CAP_SYS_BOOT CAP_SYS_PACCT CAP_WAKE_ALARM
"""
"""For the agent, which makes mounts, links and containers on the host: a mount namespace of its own would
hide them, and seccomp filters or no_new_privs would be inherited by every guest.
"""


def unit_name(settings: Settings, name: str) -> str:
    """Return the name of a process's unit; the instance's name keeps several instances apart."""
    return f"{settings.instance}-{name}.service"


def render(settings: Settings, process: Process) -> str:
    """Return the unit for one process."""
    after = " ".join(["network-online.target", *(unit_name(settings, name) for name in process.after)])
    environment = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        **process.environment,
        "DSECOS_REVISION": process.revision,
    }
    lines = [
        "[Unit]",
        f"Description=DsecOS {process.name} ({settings.instance})",
        "Wants=network-online.target",
        f"After={after}",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        *(f"Environment={_quote(f'{name}={value}')}" for name, value in environment.items()),
        *(f"ExecStartPre=+{_command(step)}" for step in process.before),
        f"ExecStart={_command(privileged_argv(process))}",
        "Restart=always",
        "RestartSec=1",
        "TimeoutStopSec=20",
        "LimitNOFILE=65536",
        "UMask=0022",
        *(["KillMode=process"] if process.children_survive else []),
        *([AGENT.rstrip()] if process.root else _sandbox(settings, process)),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


class Systemd:
    """A backend on the host's systemd; units lie in /etc/systemd/system."""

    def __init__(self, settings: Settings, units: Path = UNITS, machine: Sequence[str] = ()) -> None:
        """Units lie in `units`; `machine` is put ahead of each command, to reach a container's systemd."""
        self._settings = settings
        self._units = units
        self._machine = machine

    def apply(self, processes: Sequence[Process]) -> list[str]:
        """Write the units that changed and start or restart what does not run as described."""
        changed = [process.name for process in processes if self._write(process)]
        if changed:
            self._systemctl("daemon-reload")
        running = {state.name for state in self.states() if state.running}
        due = [
            process.name for process in processes if process.name in changed or process.name not in running
        ]
        for name in due:
            unit = unit_name(self._settings, name)
            self._systemctl("enable", "--quiet", unit)
            self._systemctl("restart", unit)
        return sorted(due)

    def remove(self, names: Sequence[str]) -> None:
        """Stop, disable and delete units."""
        present = [name for name in names if self._path(name).exists()]
        for name in present:
            self._systemctl("disable", "--now", "--quiet", unit_name(self._settings, name))
            self._path(name).unlink()
        if present:
            self._systemctl("daemon-reload")
            # Without it, systemd remembers a unit that failed by its name, though it is gone.
            self._systemctl("reset-failed", "--quiet", f"{self._settings.instance}-*.service")

    def states(self) -> list[State]:
        """Return the state of each unit of this instance."""
        found = []
        for path in sorted(self._units.glob(unit_name(self._settings, "*"))):
            name = path.stem.removeprefix(f"{self._settings.instance}-")
            properties = "--property=ActiveState,SubState,MainPID,ExecMainStartTimestamp"
            shown = self._systemctl("show", properties, path.name)
            values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
            detail = f"{values['SubState']} since {values['ExecMainStartTimestamp']}"
            running = values["ActiveState"] == "active"
            found.append(State(name, running, int(values["MainPID"]), detail))
        return found

    def log(self, name: str) -> str:
        """Return the last lines of a unit in the journal."""
        unit = unit_name(self._settings, name)
        shown = ["--unit", unit, f"--lines={LOG_LINES}", "--output=cat", "--no-pager"]
        return run([*self._machine, "journalctl", *shown])

    def close(self) -> None:
        """Stop and delete every unit of this instance."""
        self.remove([state.name for state in reversed(self.states())])

    def _systemctl(self, *args: str) -> str:
        return run([*self._machine, "systemctl", *args])

    def _path(self, name: str) -> Path:
        return self._units / unit_name(self._settings, name)

    def _write(self, process: Process) -> bool:
        return write(self._path(process.name), render(self._settings, process), mode=0o644)


def _sandbox(settings: Settings, process: Process) -> list[str]:
    """Return the sandbox: of the folders that it hides, the home is shown, and only what is named can be
    written.
    """
    shown = f"BindReadOnlyPaths={settings.home}"
    more = SANDBOXING if process.sandboxes else PLAIN
    return [SANDBOX.rstrip(), more.rstrip(), shown, *(f"BindPaths={path}" for path in process.writable)]


def _quote(word: str) -> str:
    """Quote a word for a unit file, where backslash and `%` are special (systemd.syntax(7))."""
    plain = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return plain if re.fullmatch(r"[\w@%+=:,./-]+", plain) else f'"{plain}"'


def _command(argv: Sequence[str]) -> str:
    """Return a command line for `ExecStart=`, where `$` is special too (systemd.service(5))."""
    return " ".join(_quote(word.replace("$", "$$")) for word in argv)
