"""`dsecos exec` and `dsecos console`, through an agent's socket, as root on the guest's node."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_api import Stack
from dsecos_cli.commands.enter import guest_here, pass_on
from dsecos_cli.errors import CliError, UsageError
from dsecos_cli.options import parse_environment
from dsecos_cli.rawterminal import size
from dsecos_cli.settings import Settings

from console.tests.conftest import Namespace, Run
from console.tests.fake_agent import GUEST, FakeAgent, serving
from console.tests.objects import stack_object

DSECOS = [sys.executable, "-c", "from dsecos_cli.main import main; main()"]


@pytest.fixture
def shop(namespace: Namespace, environment: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """A Stack whose guest runs on this machine."""
    monkeypatch.setenv("DSECOS_NODE_NAME", "here")
    namespace.apply(stack_object())
    namespace.set_status("stack", "shop", observedGeneration=1, node="here", guest=GUEST, state="Running")
    environment.mkdir()
    return namespace


@pytest.fixture
def agent(environment: Path, shop: Namespace) -> Iterator[FakeAgent]:
    """The agent of this machine."""
    found = FakeAgent()
    with serving(found, environment / "run" / "agent.sock"):
        yield found


def test_output_and_exit_code_are_the_commands_own(dsecos: Run, shop: Namespace, agent: FakeAgent) -> None:
    script = r"printf '\033[1mbold\377'; echo oops >&2; exit 3"
    result = dsecos("exec", "shop", "-n", shop.name, "--", "/bin/sh", "-c", script)
    assert result.exit_code == 3
    assert result.stdout_bytes == b"\x1b[1mbold\xff"
    assert result.stderr == "oops\n"


def test_it_gets_standard_input_variables_and_a_time_only_where_they_are_given(
    dsecos: Run, shop: Namespace, agent: FakeAgent
) -> None:
    words = ("exec", "shop", "-n", shop.name)
    result = dsecos(
        *words, "-i", "-e", "NAME=a b", "--", "/bin/sh", "-c", 'cat; echo "$NAME"', stdin="typed "
    )
    assert result.stdout == "typed a b\n"
    assert dsecos(*words, "--timeout", "90s", "--", "/bin/cat", stdin="not given").stdout == ""
    assert [(r["env"], r["timeLimit"]) for r in agent.requests] == [({"NAME": "a b"}, 300.0), ({}, 90.0)]


def test_an_argument_is_never_taken_apart(dsecos: Run, shop: Namespace, agent: FakeAgent) -> None:
    words = ["/bin/echo", "-n", "a  b; $(id)", "--timeout", "*"]
    assert dsecos("exec", "shop", "-n", shop.name, "--", *words).stdout == "a  b; $(id) --timeout *"


def test_what_the_agent_refuses_is_told_in_its_words(dsecos: Run, shop: Namespace, agent: FakeAgent) -> None:
    late = dsecos("exec", "shop", "-n", shop.name, "--timeout", "1s", "--", "/bin/sleep", "60")
    assert late.exit_code == 1
    assert late.stderr == "error: the command did not end within 1 s\n"
    shop.set_status("stack", "shop", guest="other-12345678")
    missing = dsecos("exec", "shop", "-n", shop.name, "--", "/bin/true")
    assert missing.exit_code == 6
    assert "this node has no guest other-12345678" in missing.stderr


def test_output_that_was_cut_is_told(dsecos: Run, shop: Namespace, agent: FakeAgent) -> None:
    agent.limit = 4
    result = dsecos("exec", "shop", "-n", shop.name, "--", "/bin/echo", "too long")
    assert result.stdout == "too "
    assert "more output than is passed on" in result.stderr


def test_without_an_agent_it_says_where_it_looked(dsecos: Run, shop: Namespace, environment: Path) -> None:
    result = dsecos("exec", "shop", "-n", shop.name, "--", "/bin/true")
    assert result.exit_code == 3
    assert f"does not answer at {environment}/run/agent.sock: No such file or directory" in result.stderr


def test_a_guest_elsewhere_is_entered_there_as_root() -> None:
    raw = stack_object()
    raw["metadata"]["namespace"] = "demo"
    stack = Stack.parse({**raw, "status": {"node": "rack1-a", "guest": GUEST}})
    for node, root, said, way_out in (
        ("rack1-b", True, "runs on node rack1-a, not here", "On rack1-a, as root: "),
        ("rack1-a", False, "takes root", "sudo "),
    ):
        with pytest.raises(CliError, match=said) as raised:
            guest_here(stack, Settings(node_name=node), "exec", ["--", "echo", "a b"], root=root)
        assert raised.value.hint == f"{way_out}dsecos exec shop -n demo -- echo 'a b'"


def test_on_a_terminal_a_commands_output_controls_nothing() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    pass_on(b"a\x1b]0;title\x07b\x1b[2J\xff\n", screen)
    assert screen.getvalue() == "ab\ufffd\n"


@pytest.mark.parametrize("pair", ["NAME", "=value", "1A=b", "A B=c"])
def test_a_variable_needs_a_name(pair: str) -> None:
    with pytest.raises(UsageError):
        parse_environment([pair])


def test_a_console_needs_a_terminal(dsecos: Run) -> None:
    result = dsecos("console", "shop")
    assert result.exit_code == 2
    assert "dsecos exec shop -- COMMAND" in result.stderr


def test_a_terminal_that_does_not_know_its_size_counts_as_80_by_24() -> None:
    keyboard, line = pty.openpty()
    try:
        assert size(line) == (80, 24)
    finally:
        os.close(keyboard)
        os.close(line)


class Terminal:
    """A terminal of 80 by 24 with the command on it."""

    def __init__(self, *words: str) -> None:
        self.keyboard, self.line = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.line)
        self.shown = b""
        self.command = subprocess.Popen(
            ["setsid", "--ctty", *DSECOS, *words], stdin=self.line, stdout=self.line, stderr=self.line
        )

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def expect(self, text: bytes) -> None:
        """Read until the text was shown; the test's own time limit ends a wait in vain."""
        while text not in self.shown:
            self.shown += os.read(self.keyboard, 4096)

    @property
    def settings(self) -> list[object]:
        return termios.tcgetattr(self.line)

    def close(self) -> None:
        self.command.kill()
        self.command.wait()
        os.close(self.keyboard)
        os.close(self.line)


@pytest.fixture
def terminal(agent: FakeAgent, shop: Namespace) -> Iterator[Terminal]:
    """The console of the Stack, open."""
    found = Terminal("console", "shop", "-n", shop.name)
    try:
        found.expect(b"size 80x24")
        yield found
    finally:
        found.close()


def test_the_console_passes_every_key_and_leaves_with_the_escape(
    terminal: Terminal, agent: FakeAgent
) -> None:
    terminal.type(b"hello\x03")
    terminal.expect(b"HELLO\x03")
    assert terminal.settings != terminal.before
    terminal.type(b"bye\x1dnot sent")
    terminal.expect(b"left")
    assert terminal.command.wait(20) == 0
    assert terminal.settings == terminal.before
    assert b"NOT" not in terminal.shown


def test_the_guest_learns_the_size_of_the_terminal(terminal: Terminal) -> None:
    terminal.resize(132, 50)
    terminal.expect(b"size 132x50")


def test_a_session_that_ends_by_itself_ends_the_command(terminal: Terminal) -> None:
    terminal.type(b"q")
    terminal.expect(b"the session has ended")
    assert terminal.command.wait(20) == 0
    assert terminal.settings == terminal.before


def test_the_terminal_is_set_back_also_when_the_command_is_told_to_end(terminal: Terminal) -> None:
    terminal.command.send_signal(signal.SIGTERM)
    assert terminal.command.wait(20) == 128 + signal.SIGTERM
    assert terminal.settings == terminal.before


def test_a_console_that_is_refused_leaves_the_terminal_alone(agent: FakeAgent, shop: Namespace) -> None:
    shop.set_status("stack", "shop", guest="other-12345678")
    terminal = Terminal("console", "shop", "-n", shop.name)
    try:
        terminal.expect(b"error: this node has no guest other-12345678")
        assert terminal.command.wait(20) == 6
        assert terminal.settings == terminal.before
    finally:
        terminal.close()
