"""Fixtures: an instance's settings without anything running, and a control plane that runs."""

from collections.abc import Iterator

import pytest
from dsecos_control_plane import home, testing
from dsecos_control_plane.settings import Settings
from dsecos_control_plane.testing import ControlPlane


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings of an instance of this test's own, its folders made; all of it is removed afterwards."""
    scratch = testing.scratch_settings()
    try:
        home.prepare(scratch)
        yield scratch
    finally:
        testing.remove(scratch)


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """A real control plane, shared by the tests of a module."""
    with ControlPlane() as plane:
        yield plane
