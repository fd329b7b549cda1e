"""Running the host's tools: bounded output, a time limit, no shell, nothing left behind."""

from dsecos_agent.processes.run import (
    ProcessResult,
    ToolFailedError,
    ToolMissingError,
    ToolTimeoutError,
    check,
    run,
)

__all__ = ["ProcessResult", "ToolFailedError", "ToolMissingError", "ToolTimeoutError", "check", "run"]
