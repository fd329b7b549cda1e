"""supervisord on its own: what ends is started again, and what should live on does."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from dsecos_control_plane.identity import Identity
from dsecos_control_plane.processes import Process
from dsecos_control_plane.readiness import wait
from dsecos_control_plane.settings import Settings
from dsecos_control_plane.supervisord import Supervisord, is_supervisord


@pytest.fixture
def backend(settings: Settings) -> Iterator[Supervisord]:
    """A supervisord of this test's own."""
    supervisord = Supervisord(settings)
    yield supervisord
    supervisord.close()


def sleeper(name: str = "sleeper", seconds: str = "1000", **options: object) -> Process:
    return Process(name=name, argv=("/bin/sleep", seconds), **options)  # type: ignore[arg-type]


def pid(backend: Supervisord, name: str = "sleeper") -> int:
    return next((state.pid for state in backend.states() if state.name == name and state.running), 0)


def wait_for_another(backend: Supervisord, former: int) -> int:
    wait(lambda: pid(backend) not in (0, former), "the process to be started again", 10)
    return pid(backend)


def kill_parent(process: psutil.Process) -> None:
    """Kill the supervisord of a process, which lives on."""
    parent = process.parent()
    assert parent is not None
    parent.kill()
    wait(lambda: process.ppid() != parent.pid, "supervisord to be gone", 5)


def test_what_is_killed_is_started_again_and_again(backend: Supervisord) -> None:
    backend.apply([sleeper()])
    wait(lambda: pid(backend) != 0, "the process to run", 5)
    former = pid(backend)
    for _ in range(3):
        os.kill(former, signal.SIGKILL)
        former = wait_for_another(backend, former)


def test_what_ends_well_is_started_again(backend: Supervisord, tmp_path: Path) -> None:
    counter = tmp_path / "starts"
    backend.apply([Process(name="short", argv=("/bin/sh", "-c", f"echo x >> {counter}"))])
    wait(lambda: counter.exists() and len(counter.read_text().split()) >= 3, "three starts", 10)


def test_applying_the_same_changes_nothing(backend: Supervisord) -> None:
    assert backend.apply([sleeper("one"), sleeper("two")]) == ["one", "two"]
    wait(lambda: all(state.running for state in backend.states()), "both to run", 5)
    before = backend.states()
    assert backend.apply([sleeper("one")]) == []
    assert backend.states() == before


def test_only_what_changed_is_restarted(backend: Supervisord) -> None:
    backend.apply([sleeper("one"), sleeper("two")])
    wait(lambda: all(state.running for state in backend.states()), "both to run", 5)
    one, two = pid(backend, "one"), pid(backend, "two")
    assert backend.apply([sleeper("one", revision="new"), sleeper("two")]) == ["one"]
    wait(lambda: pid(backend, "one") not in (0, one), "the changed one to run", 5)
    assert pid(backend, "two") == two


def test_children_outlive_a_stop(backend: Supervisord, tmp_path: Path) -> None:
    file = tmp_path / "child"
    script = f"setsid sleep 1000 & echo $! > {file}; wait"
    backend.apply([Process(name="parent", argv=("/bin/sh", "-c", script), children_survive=True)])
    wait(lambda: file.exists() and file.read_text().strip() != "", "the child", 5)
    child = psutil.Process(int(file.read_text()))
    try:
        backend.remove(["parent"])
        assert pid(backend, "parent") == 0
        assert child.is_running()
    finally:
        child.kill()


def test_privileges_are_gone(backend: Supervisord, settings: Settings, tmp_path: Path) -> None:
    process = sleeper(identity=Identity(settings.guest_id_base - 1, settings.guest_id_base - 1))
    backend.apply([process])
    wait(lambda: pid(backend) != 0, "the process to run", 5)
    status = Path(f"/proc/{pid(backend)}/status")
    wait(lambda: "NoNewPrivs:\t1" in status.read_text(), "privileges to be given up", 5)
    fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(settings.guest_id_base - 1)] * 4
    assert fields["Groups"].strip() == ""
    assert {int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}


def test_commands_run_ahead_of_each_start(backend: Supervisord, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ahead = ("/bin/sh", "-c", f"echo ahead >> {log}")
    backend.apply([sleeper(before=(ahead,))])
    wait(lambda: pid(backend) != 0 and log.exists(), "the process to run", 5)
    os.kill(pid(backend), signal.SIGKILL)
    wait(lambda: log.read_text().split() == ["ahead"] * 2, "a second start", 10)


def test_what_a_killed_supervisord_left_is_ended_before_a_new_start(
    backend: Supervisord, settings: Settings
) -> None:
    backend.apply([sleeper()])
    wait(lambda: pid(backend) != 0, "the process to run", 5)
    orphan = psutil.Process(pid(backend))
    kill_parent(orphan)
    assert orphan.is_running()
    assert Supervisord(settings).apply([sleeper()]) == ["sleeper"]
    wait(lambda: pid(backend) != 0, "the process to run again", 5)
    assert not orphan.is_running()
    assert pid(backend) != orphan.pid


def test_close_ends_orphans_too_and_may_be_repeated(backend: Supervisord) -> None:
    backend.apply([sleeper()])
    wait(lambda: pid(backend) != 0, "the process to run", 5)
    orphan = psutil.Process(pid(backend))
    kill_parent(orphan)
    backend.close()
    backend.close()
    assert not orphan.is_running()


def test_the_socket_is_closed_to_others(backend: Supervisord, settings: Settings) -> None:
    backend.apply([sleeper()])
    socket = settings.run / "supervisor.sock"
    assert socket.stat().st_mode & 0o077 == 0


def test_no_strangers_command_line_is_taken_for_ours() -> None:
    ours = Path("/home/etc/supervisord.conf")
    assert is_supervisord(["python", "-c", "from supervisor import supervisord", "-c", str(ours)], ours)
    for words in ([], ["sh"], ["sh", "-c"], ["sh", "-c", "supervisord"], ["supervisord", "-c", str(ours)]):
        assert not is_supervisord(words, Path("/another.conf"))
