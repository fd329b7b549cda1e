"""How much of the same: `make test` plays what fits a change, `make test-all` plays all of it."""

from __future__ import annotations

import os

ALL = os.environ.get("DSECOS_TEST_ALL", "") == "1"


def amount(usual: int, of_all: int) -> int:
    """A count of like things: `usual` in `make test`, `of_all` in `make test-all`."""
    return of_all if ALL else usual
