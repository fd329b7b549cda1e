"""What is read from pytest's report: told here by pytest on this machine, as it is called in the other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from dsecos_control_plane.settings import SOURCE

from tests.vm.inside import Result, assert_passed, pytest_command, results
from tests.vm.machine import Done


def told(folder: Path, text: str, *arguments: str) -> list[Result]:
    """What becomes of a file of tests."""
    file, report = folder / "test_some.py", folder / "junit.xml"
    file.write_text(text)
    command = pytest_command(report, *arguments, f"{file}")
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=False)
    return results(Done(done.returncode, done.stdout + done.stderr), report)


def test_tests_are_named_as_pytest_names_them(tmp_path: Path) -> None:
    found = told(tmp_path, "def test_good(): pass\n\nclass TestMore:\n    def test_too(self): pass\n")
    assert [each.test.partition("test_some.py")[2] for each in found] == [
        "::test_good",
        "::TestMore::test_too",
    ]
    assert_passed(found)


@pytest.mark.parametrize(
    ("text", "outcome", "says"),
    [
        ("def test_sum(): assert 1 + 1 == 3", "failure", r"assert \(1 \+ 1\) == 3"),
        ("import pytest\n\ndef test_skipped(): pytest.skip('no kernel')", "skipped", "no kernel"),
    ],
)
def test_whatever_did_not_pass_is_a_failure_that_tells_why(
    tmp_path: Path, text: str, outcome: str, says: str
) -> None:
    found = told(tmp_path, text)
    assert [each.outcome for each in found] == [outcome]
    with pytest.raises(AssertionError, match=rf"1 of 1 did not pass(.|\n)*{says}"):
        assert_passed(found)


def test_an_error_after_a_test_counts(tmp_path: Path) -> None:
    text = """
import pytest

@pytest.fixture
def one():
    yield
    raise OSError("not removed")

def test_one(one): pass
"""
    with pytest.raises(AssertionError, match="not removed"):
        assert_passed(told(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("import pytest\n\ndef test_one(): pass\n\ndef test_two(): pytest.exit('broken off')", "broken off"),
    ],
)
def test_a_run_that_did_not_come_to_its_end_is_a_failure(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        told(tmp_path, text)


def test_no_test_at_all_is_a_failure(tmp_path: Path) -> None:
    found = told(tmp_path, "def test_one(): pass", "-k", "another")
    assert found == []
    with pytest.raises(AssertionError, match="no test"):
        assert_passed(found)
