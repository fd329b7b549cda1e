"""Tests that need a kernel as nodes have it, run on Debian's own in an emulated machine."""
