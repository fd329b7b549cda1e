"""Guests as LXC system containers, driven by liblxc's own tools."""

from dsecos_agent.engines.lxc.engine import LxcEngine

__all__ = ["LxcEngine"]
