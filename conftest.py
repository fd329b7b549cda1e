"""Settings of all tests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from tests.lanes import Lanes

# How long one example takes says something about the machine, not about the code.
settings.register_profile("dsecos", deadline=None)
settings.load_profile("dsecos")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """For `make test`, which runs two lanes."""
    return Lanes(config, log)
