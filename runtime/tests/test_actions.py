"""Acting and fault points."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsecos_runtime import act_all, fault_point


@dataclass(frozen=True)
class Step:
    name: str


async def test_actions_run_one_after_another_in_their_order() -> None:
    done: list[str] = []

    async def act(step: Step) -> None:
        done.append(step.name)

    assert await act_all([Step("a"), Step("b")], act) == 2
    assert done == ["a", "b"]


async def test_the_first_failure_ends_the_run() -> None:
    done: list[str] = []

    async def act(step: Step) -> None:
        done.append(step.name)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await act_all([Step("a"), Step("b")], act)
    assert done == ["a"]


SCRIPT = """
import asyncio, sys
from dataclasses import dataclass
from dsecos_runtime import act_all
@dataclass
class Step:
    name: str
async def act(step):
    print(step.name, file=sys.stderr, flush=True)
asyncio.run(act_all([Step("a"), Step("b"), Step("a"), Step("c")], act))
"""


@pytest.mark.parametrize(
    ("point", "done", "code"),
    [
        ("a", ["a"], -signal.SIGKILL),
        ("b:1", ["a", "b"], -signal.SIGKILL),
        ("a:2", ["a", "b", "a"], -signal.SIGKILL),
        ("a:3", ["a", "b", "a", "c"], 0),
        ("c,b", ["a", "b"], -signal.SIGKILL),
        ("c,a:2", ["a", "b", "a"], -signal.SIGKILL),
        ("", ["a", "b", "a", "c"], 0),
    ],
)
def test_a_fault_point_kills_the_process_after_the_nth_action(point: str, done: list[str], code: int) -> None:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"DSECOS_FAULT_POINT": point},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (found.stderr.split(), found.returncode) == (done, code)


def test_without_the_variable_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSECOS_FAULT_POINT", raising=False)
    fault_point("a")


def test_a_running_process_dies_once_at_the_point_that_a_file_names(tmp_path: Path) -> None:
    wish, passed = tmp_path / "fault", tmp_path / "fault.passed"
    wish.write_text("c,b")
    passed.write_text("")
    env = {**os.environ, "DSECOS_FAULT_FILE": str(wish)}
    codes = [
        subprocess.run([sys.executable, "-c", SCRIPT], env=env, check=False).returncode for _ in range(2)
    ]
    assert codes == [-signal.SIGKILL, 0]
    assert passed.read_text().split() == ["a", "b", "a", "b", "a", "c"]
