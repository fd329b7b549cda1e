"""Settings of all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.lanes import Lanes

# How long one example takes says something about the machine, not about the code.
settings.register_profile("dsecos", deadline=None)
settings.load_profile("dsecos")


class Folder(pytest.Package):
    """A folder of tests that is no Python package, so that its fixtures of scope `package` end with it: an
    API server that nobody asks any more takes a tenth of a core.
    """

    def setup(self) -> None:
        """Nothing: there is no module to import."""


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Folders with fixtures of their own."""
    if (path / "__init__.py").exists() or not (path / "conftest.py").exists():
        return None
    folder: pytest.Collector = Folder.from_parent(parent, path=path)
    return folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """For `make test`, which runs two lanes."""
    return Lanes(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell a failure at once: a run that is ended from outside never comes to its summary."""
    if report.failed and not os.environ.get("PYTEST_XDIST_WORKER"):
        reason = getattr(report.longrepr, "reprcrash", None) or report.longrepr
        sys.stdout.write(f"\n{report.nodeid} ({report.when}, {report.duration:.0f} s): {reason}\n")
