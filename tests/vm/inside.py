"""Tests of ours, run in the machine, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dsecos_control_plane.settings import SOURCE

from tests.vm.machine import SHARED, Done, Machine

PYTHON = SOURCE / ".venv" / "bin" / "python"
PASSED = "passed"
WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
"""It came to its end; other codes tell of files that could not be read, or of a run that was broken off."""


@dataclass(frozen=True)
class Result:
    """Of one test."""

    test: str
    """As pytest names it."""
    outcome: str
    """`passed`, `failure`, `error` or `skipped`."""
    text: str
    """What pytest tells of a test that did not pass."""


def run_tests(machine: Machine, *arguments: str, within: float) -> list[Result]:
    """Run pytest with these arguments; `within` seconds, as tests/patience.py counts them.

    Raises MachineError, or AssertionError where pytest did not come to its end.
    """
    report = machine.shared / "junit.xml"
    report.unlink(missing_ok=True)
    # What is compiled here is read there; what is compiled there would be gone.
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    done = machine.run(*pytest_command(SHARED / report.name, *arguments), within=within, env=env)
    return results(done, report)


def pytest_command(report: Path, *arguments: str) -> list[str]:
    """How pytest is called so that `results` can read its report. Pure."""
    plugins = ("-p", "no:cacheprovider", "-p", "no:xdist")
    # xunit1 has the name of the file.
    told = (f"--junit-xml={report}", "-o", "junit_family=xunit1")
    return [f"{PYTHON}", "-m", "pytest", *plugins, *told, *arguments]


def assert_passed(found: list[Result]) -> None:
    """At least one test ran, and all that ran passed."""
    assert found, "no test was found"
    failed = [each for each in found if each.outcome != PASSED]
    told = "\n\n".join(f"{each.test}: {each.outcome}\n{each.text}" for each in failed)
    assert not failed, f"{len(failed)} of {len(found)} did not pass in the machine:\n\n{told}"


def results(done: Done, report: Path) -> list[Result]:
    """From pytest's report in JUnit's XML, family xunit1.

    Raises AssertionError: pytest did not come to its end.
    """
    assert done.code in WHOLE, f"pytest ended with {done.code}:\n{done.output}"
    return [_result(case) for case in ElementTree.fromstring(report.read_text()).iter("testcase")]


def _result(case: ElementTree.Element) -> Result:
    test = _id(case.get("file", ""), case.get("classname", ""), case.get("name", ""))
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            return Result(test, child.tag, f"{child.get('message', '')}\n{child.text or ''}".strip())
    return Result(test, PASSED, "")


def _id(file: str, dotted: str, name: str) -> str:
    module = file.removesuffix(".py").replace("/", ".")
    classes = dotted.removeprefix(module).strip(".").split(".")
    return "::".join(filter(None, [file, *classes, name]))
