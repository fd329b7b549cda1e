"""The agent's local socket: exec, console and metrics of guests, for root of this node."""

from dsecos_agent.control.socket import ControlSocket

__all__ = ["ControlSocket"]
