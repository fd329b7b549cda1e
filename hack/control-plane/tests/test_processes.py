"""What is said about each process, and how both backends put it."""

import configparser
import os
import re
import shlex
from pathlib import Path

import pytest
from dsecos_control_plane import processes, supervisord, systemd
from dsecos_control_plane.backend import privileged_argv
from dsecos_control_plane.identity import Identity
from dsecos_control_plane.processes import Process
from dsecos_control_plane.settings import Settings

SETTINGS = Settings(home=Path("/srv/home"), instance="one", guest_id_base=5_000_000)
ALL = [
    *processes.control_plane(SETTINGS),
    *processes.registries(SETTINGS),
    processes.operator(SETTINGS, "r1"),
    processes.agent(SETTINGS, "r1"),
]
ODD = Process(
    name="odd",
    argv=("/bin/echo", "50%", "two words", "it's", '"quoted"', "$HOME", "back\\slash"),
    environment={"ODD": '100% "sure" \\ $HOME'},
)


def by_name(name: str) -> Process:
    return next(process for process in ALL if process.name == name)


@pytest.mark.parametrize("process", ALL, ids=lambda process: process.name)
def test_only_the_agent_is_root(process: Process) -> None:
    if process.name == "agent":
        assert process.root
        assert process.identity is None
    else:
        assert not process.root
        assert process.identity is not None
        assert process.identity.uid > 0


def test_no_two_services_share_a_user() -> None:
    users = [process.identity for process in ALL if process.identity]
    assert len(users) == len(set(users))


@pytest.mark.parametrize("process", ALL, ids=lambda process: process.name)
def test_arguments_and_environment_hold_no_secret(process: Process) -> None:
    text = " ".join([*process.argv, *process.environment.values()])
    assert not re.search(r"password=|token=|secret=", text, re.IGNORECASE)


def test_the_control_plane_listens_on_loopback_only() -> None:
    for process in processes.control_plane(SETTINGS):
        addresses = [word for word in process.argv if re.search(r"(listen|bind|advertise)", word)]
        assert addresses
        assert all("127.0.0.1" in word for word in addresses)


def test_the_api_server_is_locked_down() -> None:
    argv = by_name("kube-apiserver").argv
    assert "--authorization-mode=RBAC" in argv
    assert any(word.startswith("--audit-policy-file=") for word in argv)
    assert any(word.startswith("--encryption-provider-config=") for word in argv)
    assert not any(word.startswith("--insecure") for word in argv)


def test_guests_outlive_the_agent_and_nothing_else_is_left_behind() -> None:
    assert {process.name for process in ALL if process.children_survive} == {"agent"}


class TestSupervisord:
    """Sections of a supervisord configuration."""

    @staticmethod
    def parse(process: Process) -> configparser.SectionProxy:
        parser = configparser.RawConfigParser()
        parser.read_string(supervisord.render(SETTINGS, process))
        return parser[f"program:{process.name}"]

    @pytest.mark.parametrize("process", ALL, ids=lambda process: process.name)
    def test_it_restarts_for_ever_and_spares_the_group(self, process: Process) -> None:
        section = self.parse(process)
        assert section["autorestart"] == "true"
        assert section["startsecs"] == "0"
        assert int(section["startretries"]) > 10**8
        assert section["stopasgroup"] == section["killasgroup"] == "false"

    def test_odd_words_arrive_as_they_are(self) -> None:
        section = self.parse(ODD)
        assert tuple(shlex.split(section["command"].replace("%%", "%"))) == ODD.argv

    def test_another_revision_is_another_section(self) -> None:
        first, second = (supervisord.render(SETTINGS, processes.agent(SETTINGS, key)) for key in "ab")
        assert first != second

    def test_commands_run_ahead_as_root(self) -> None:
        words = shlex.split(self.parse(by_name("registry-read"))["command"])
        assert words[:2] == ["/bin/sh", "-c"]
        assert words[2] == '/usr/sbin/nft -f /srv/home/etc/registry-read.nft && exec "$@"'
        assert words[4] == "/usr/bin/setpriv"

    def test_the_socket_is_for_its_owner(self) -> None:
        parser = configparser.RawConfigParser()
        parser.read_string(supervisord.render_supervisor(SETTINGS))
        assert parser["unix_http_server"]["chmod"] == "0700"


class TestSystemd:
    """Unit files."""

    @staticmethod
    def parse(process: Process) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in systemd.render(SETTINGS, process).splitlines():
            if "=" in line:
                name, value = line.split("=", 1)
                found.setdefault(name, []).append(value)
        return found

    def test_names_carry_the_instance(self) -> None:
        assert systemd.unit_name(SETTINGS, "etcd") == "one-etcd.service"
        assert "one-etcd.service" in self.parse(by_name("kube-apiserver"))["After"][0]

    @pytest.mark.parametrize("process", ALL, ids=lambda process: process.name)
    def test_it_restarts_for_ever(self, process: Process) -> None:
        unit = self.parse(process)
        assert unit["Restart"] == ["always"]
        assert unit["StartLimitIntervalSec"] == ["0"]

    @pytest.mark.parametrize("process", ALL, ids=lambda process: process.name)
    def test_all_but_the_agent_are_in_a_sandbox(self, process: Process) -> None:
        unit = self.parse(process)
        if process.root:
            assert unit["KillMode"] == ["process"]
            assert unit["Delegate"] == ["yes"]
            assert "NoNewPrivileges" not in unit
        else:
            assert unit["NoNewPrivileges"] == unit["ProtectHome"] == ["yes"]
            assert unit["SystemCallFilter"][0].startswith("@system-service")
            assert unit["ProtectSystem"] == ["strict"]
            assert unit.get("BindPaths", []) == [str(path) for path in process.writable]
            assert "KillMode" not in unit

    def test_odd_words_are_escaped(self) -> None:
        unit = self.parse(ODD)
        assert unit["ExecStart"] == [
            r'''/bin/echo 50%% "two words" "it's" "\"quoted\"" "$$HOME" "back\\slash"'''
        ]
        assert '"ODD=100%% \\"sure\\" \\\\ $HOME"' in unit["Environment"]


def test_privileges_are_given_up_before_the_program_runs() -> None:
    process = Process(name="p", argv=("/bin/true",), identity=Identity(7, 8))
    argv = privileged_argv(process)
    assert argv[0] == "/usr/bin/setpriv"
    assert {"--reuid=7", "--regid=8", "--clear-groups", "--bounding-set=-all", "--no-new-privs"} <= set(argv)
    assert argv[-1] == "/bin/true"
    assert os.access(argv[0], os.X_OK)
