"""Engines run guests. `protocol` says what any engine offers, `lxc` does it with liblxc's tools."""
