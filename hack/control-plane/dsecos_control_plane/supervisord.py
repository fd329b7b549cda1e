"""Processes under a supervisord of this instance's own, for hosts whose PID 1 is not systemd."""

import configparser
import os
import shlex
import signal
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from dsecos_control_plane.backend import LOG_LINES, State, privileged_argv
from dsecos_control_plane.command import run
from dsecos_control_plane.errors import NotReadyError
from dsecos_control_plane.files import folder, write
from dsecos_control_plane.processes import PATH, Process
from dsecos_control_plane.settings import Settings

STOP_SECONDS = 20
"""How long a process may take to end after SIGTERM, before SIGKILL."""

MARK = "DSECOS_PROCESS"
"""Environment variable by which a process is recognised after the supervisor that started it was killed."""


def render_supervisor(settings: Settings) -> str:
    """Return supervisord's own configuration; its socket is open to this user alone."""
    user = "user=root\n" if os.geteuid() == 0 else ""
    return f"""[supervisord]
identifier={settings.instance}
{user}umask=022
pidfile={settings.run}/supervisord.pid
logfile={settings.logs}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
childlogdir={settings.logs}

[unix_http_server]
file={settings.run}/supervisor.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={settings.etc}/supervisor.d/*.conf
"""


def render(settings: Settings, process: Process) -> str:
    """Return the section for one process.

    `startsecs=0` counts every start as good, so a process that keeps failing is started again about once a
    second for ever: otherwise supervisor waits one second longer each time. The two `asgroup` options stay
    false: LXC's monitors are children of the agent and outlive it.
    """
    argv = privileged_argv(process)
    if process.before:
        steps = " && ".join([*(shlex.join(step) for step in process.before), 'exec "$@"'])
        argv = ("/bin/sh", "-c", steps, process.name, *argv)
    environment = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        **process.environment,
        "DSECOS_REVISION": process.revision,
        MARK: mark(settings, process.name),
    }
    pairs = ",".join(f'{name}="{_literal(value)}"' for name, value in environment.items())
    return f"""[program:{process.name}]
command={shlex.join(argv).replace("%", "%%")}
environment={pairs}
directory=/
autostart=true
autorestart=true
startsecs=0
startretries=1000000000
stopsignal=TERM
stopwaitsecs={STOP_SECONDS}
stopasgroup=false
killasgroup=false
redirect_stderr=true
stdout_logfile={settings.logs}/{process.name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


def mark(settings: Settings, name: str) -> str:
    """Return the value of `MARK` for a process of this instance."""
    return f"{settings.home}:{name}"


class Supervisord:
    """A backend on supervisord, spoken to over its socket in `DSECOS_HOME/run`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sections = settings.etc / "supervisor.d"
        self._configuration = settings.etc / "supervisord.conf"
        self._socket = settings.run / "supervisor.sock"

    def apply(self, processes: Sequence[Process]) -> list[str]:
        """Start supervisord if need be, and add, change or start the processes.

        Raises:
            NotReadyError: supervisord did not answer.
        """
        folder(self._sections)
        for process in processes:
            write(self._sections / f"{process.name}.conf", render(self._settings, process), mode=0o600)
        began = self._start()
        rpc = self._rpc()
        ((added, changed, _removed),) = rpc.reloadConfig()
        for name in changed:
            self._drop(rpc, name)
        for name in [*changed, *added]:
            rpc.addProcessGroup(name)
        named = {process.name for process in processes}
        stopped = [state.name for state in self.states() if state.name in named and not state.running]
        for name in stopped:
            _ignoring_fault(rpc.startProcess, name, False)
        return sorted(named if began else named & {*added, *changed, *stopped})

    def remove(self, names: Sequence[str]) -> None:
        """Stop and forget processes; whatever a killed supervisord left of them is ended too."""
        for name in names:
            if self._answers():
                self._drop(self._rpc(), name)
            _end(self._orphans(name))
            (self._sections / f"{name}.conf").unlink(missing_ok=True)

    def states(self) -> list[State]:
        """Return all processes that supervisord knows; none where it does not run."""
        if not self._answers():
            return []
        return [
            State(info["name"], info["statename"] == "RUNNING", info["pid"], _since(info))
            for info in self._rpc().getAllProcessInfo()
        ]

    def log(self, name: str) -> str:
        """Return the last lines of a process's file in `DSECOS_HOME/log`."""
        path = self._settings.logs / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-LOG_LINES:])

    def close(self) -> None:
        """End supervisord with all that it still runs."""
        names = [state.name for state in self.states()]
        names += [section.stem for section in self._sections.glob("*.conf") if section.stem not in names]
        self.remove(list(reversed(names)))
        supervisor = self._pid()
        if supervisor is not None:
            _end([supervisor])
        for leftover in ("supervisor.sock", "supervisord.pid"):
            (self._settings.run / leftover).unlink(missing_ok=True)

    def _start(self) -> bool:
        """Start supervisord unless it answers, after ending what a killed one left; return whether it was
        started.
        """
        if self._answers():
            return False
        for section in self._sections.glob("*.conf"):
            _end(self._orphans(section.stem))
        write(self._configuration, render_supervisor(self._settings), mode=0o600)
        program = "from supervisor.supervisord import main; main()"
        clean = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": str(Path.home())}
        run(
            [
                "/usr/bin/env",
                "-i",
                *(f"{name}={value}" for name, value in clean.items()),
                sys.executable,
                "-c",
                program,
                "-c",
                self._configuration,
            ],
            cwd=Path("/"),
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > deadline:
                msg = f"supervisord does not answer; see {self._settings.logs}/supervisord.log"
                raise NotReadyError(msg)
            time.sleep(0.05)
        return True

    def _rpc(self) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor

    def _answers(self) -> bool:
        if not self._socket.exists():
            return False
        try:
            return bool(self._rpc().getState()["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def _drop(self, rpc: Any, name: str) -> None:
        _ignoring_fault(rpc.stopProcess, name, True)
        _ignoring_fault(rpc.removeProcessGroup, name)

    def _pid(self) -> psutil.Process | None:
        """Return the supervisord of this instance, told from a stranger with its old number by its command
        line.
        """
        for process in psutil.process_iter(["cmdline"]):
            if is_supervisord(process.info["cmdline"] or [], self._configuration):
                return process
        return None

    def _orphans(self, name: str) -> list[psutil.Process]:
        """Return a process that still runs though its supervisord is gone; what it started is not meant.

        It has our mark and the command line of its section: whole, or with the interpreter of a script ahead,
        or without the programs ahead that became it.
        """
        parser = configparser.RawConfigParser()
        parser.read(self._sections / f"{name}.conf")
        section = f"program:{name}"
        if not parser.has_section(section):
            return []
        words = shlex.split(parser[section]["command"].replace("%%", "%"))
        supervisor = self._pid()

        def is_it(process: psutil.Process) -> bool:
            line = process.cmdline()
            called = any(call and words[-len(call) :] == call for call in (line, line[1:]))
            supervised = supervisor is not None and process.ppid() == supervisor.pid
            return called and not supervised and process.environ().get(MARK) == mark(self._settings, name)

        return [process for process in psutil.process_iter() if _certainly(is_it, process)]


def is_supervisord(words: Sequence[str], configuration: Path) -> bool:
    """Whether this is the command line of the supervisord with this configuration. Strangers' may be any."""
    program = words[2] if words[1:2] == ["-c"] and len(words) > 2 else ""
    return "supervisord" in program and words[-1] == str(configuration)


def _since(info: dict[str, Any]) -> str:
    """Say since when a process runs, or why it does not."""
    if info["statename"] != "RUNNING":
        return str(info["description"])
    return f"since {datetime.fromtimestamp(info['start'], UTC):%Y-%m-%d %H:%M:%S} UTC"


def _literal(value: str) -> str:
    return value.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def _certainly(question: Callable[[psutil.Process], bool], process: psutil.Process) -> bool:
    """Ask about a process that may end meanwhile, or be another user's: then the answer is no."""
    try:
        return question(process)
    except psutil.Error:
        return False


def _end(processes: Sequence[psutil.Process]) -> None:
    """End processes that we started: SIGTERM, then SIGKILL after `STOP_SECONDS`."""
    present = list(processes)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in present:
            try:
                process.send_signal(sign)
            except psutil.NoSuchProcess:
                continue
        _gone, present = psutil.wait_procs(present, timeout=STOP_SECONDS)


def _ignoring_fault(call: Callable[..., Any], *args: Any) -> None:
    """Call supervisord where a fault only says that there is nothing to do (already started, not there)."""
    try:
        call(*args)
    except xmlrpc.client.Fault:
        return
