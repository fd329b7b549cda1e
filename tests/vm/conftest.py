"""One machine for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.kernel import kernel
from tests.vm.machine import Machine


@pytest.fixture(scope="package")
def machine() -> Iterator[Machine]:
    """It boots when it is first used."""
    with Machine(kernel()) as machine:
        yield machine
