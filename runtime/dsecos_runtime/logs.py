"""JSON lines on standard error, with the identity of what is worked on.

`get_logger()` is structlog's; what the standard library's loggers say (kopf, aiohttp, httpx2) passes through
the same processors, so that one line has one form.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

import structlog

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)

# kopf tells of every event that a handler has seen; what matters of it we say ourselves.
_QUIET = {
    "kopf.objects": logging.ERROR,
    "kopf": logging.WARNING,
    "kopf._cogs.clients": logging.CRITICAL,
    "httpx2": logging.WARNING,
    "asyncio": logging.WARNING,
}


def configure(component: str, level: str = "INFO") -> None:
    """Set up logging of the whole process; `component` is on every line."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=list(_SHARED),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, quieter in _QUIET.items():
        logging.getLogger(name).setLevel(max(quieter, root.level))
    structlog.contextvars.bind_contextvars(component=component)


def get_logger(**identity: Any) -> structlog.stdlib.BoundLogger:
    """A logger whose lines carry `identity`, for example kind, namespace, name."""
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(**identity))
