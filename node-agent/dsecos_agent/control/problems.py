"""What goes wrong, as problem documents (RFC 9457, application/problem+json)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

from dsecos_agent.adapter_errors import (
    AdapterError,
    NotFoundError,
    NotOursError,
    RetryableError,
    UnsupportedError,
)
from dsecos_agent.engines.errors import (
    CertificateChangedError,
    EngineDeniedError,
    ExecTimeoutError,
    GuestLockedError,
    GuestNotRunningError,
    IllegalTransitionError,
    UnsafeConfigError,
)

CONTENT_TYPE = "application/problem+json"

STATUS: Sequence[tuple[type[AdapterError], HTTPStatus]] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (NotOursError, HTTPStatus.CONFLICT),
    (GuestNotRunningError, HTTPStatus.CONFLICT),
    (GuestLockedError, HTTPStatus.CONFLICT),
    (IllegalTransitionError, HTTPStatus.CONFLICT),
    (UnsupportedError, HTTPStatus.NOT_IMPLEMENTED),
    (ExecTimeoutError, HTTPStatus.GATEWAY_TIMEOUT),
    (UnsafeConfigError, HTTPStatus.BAD_REQUEST),
    (EngineDeniedError, HTTPStatus.BAD_GATEWAY),
    (CertificateChangedError, HTTPStatus.BAD_GATEWAY),
    (RetryableError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""The first that fits; what is none of them is 500."""


class ProblemError(Exception):
    """A request that is answered with a problem document. `errors`: what of the request was wrong."""

    def __init__(self, status: HTTPStatus, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors


def status_of(error: AdapterError) -> HTTPStatus:
    """Of an engine's error."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def response(status: HTTPStatus, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> web.Response:
    """The document. `errors` name field, value and expectation each."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
    }
    if errors:
        document["errors"] = [dict(error) for error in errors]
    return web.json_response(document, status=int(status), content_type=CONTENT_TYPE)
