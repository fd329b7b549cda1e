"""One object or more of every kind; together they use every field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]


def objects() -> list[Object]:
    """The objects of the folder `objects`, also used by the tests against a real API server."""
    paths = sorted((Path(__file__).parent / "objects").glob("*.yaml"))
    return [each for path in paths for each in yaml.safe_load_all(path.read_text())]


@pytest.fixture(scope="session")
def raw_objects() -> list[Object]:
    """All objects at once."""
    return objects()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests that ask for `raw` each object in turn."""
    if "raw" in metafunc.fixturenames:
        metafunc.parametrize("raw", objects(), ids=lambda raw: f"{raw['kind']}-{raw['metadata']['name']}")
