"""Benchmarks run on an instance like that of the end-to-end tests, and never beside them."""

from tests.e2e.conftest import running

__all__ = ["running"]
