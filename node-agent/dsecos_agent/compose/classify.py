"""What `docker compose` means when it fails. It says so in words only; patterns come from compose 2.26 and
Docker 26.
"""

import re

from dsecos_agent.compose.protocol import (
    ComposeFailedError,
    ConfigInvalidError,
    ImageNotFoundError,
    RegistryUnreachableError,
    ServiceUnhealthyError,
)

LONGEST_LINE = 300

UNREACHABLE = re.compile(
    r"dial tcp|no such host|connection refused|i/o timeout|TLS handshake timeout|network is unreachable"
    r"|no route to host|Temporary failure in name resolution|context deadline exceeded|Client\.Timeout"
    r"|request canceled while waiting for connection|server misbehaving|x509:",
)
NOT_FOUND = re.compile(
    r"manifest unknown|manifest for \S+ not found|pull access denied for|repository \S+ not found"
    r"|No such image|failed to resolve reference|invalid reference format|unauthorized"
)
UNHEALTHY = re.compile(
    r"container \S+ is unhealthy|container \S+ exited \(\d+\)|dependency failed to start"
    r"|application not healthy"
)
CONTAINER = re.compile(r"container (\S+) (?:is unhealthy|exited)")
PULLED = re.compile(r"^ *(\S+) Error ", re.MULTILINE)
INVALID = re.compile(
    r"yaml: |validating |is not allowed|must be a|undefined (service|volume|network|secret|config)"
    r"|invalid (spec|proto|compose|interpolation|hostPort|containerPort)|(depends on|refers to) undefined"
    r"|unsupported|empty compose file|no service selected|services must be|invalid project|duplicate"
)
PARSE_EXIT = 15
"""Compose's exit code for a document that it cannot parse (cmd/formatter, compose/errors.go)."""


def blanked(log: str, secrets: list[str]) -> str:
    """Without the values that were handed over; longer ones first, since one may contain another."""
    for secret in sorted((one for one in secrets if one), key=len, reverse=True):
        log = log.replace(secret, "***")
    return log


def classify(exit_code: int, log: str) -> ComposeFailedError:
    """The error for a failed `up`, from its exit code and its output (already blanked)."""
    message = f"docker compose failed with exit code {exit_code}: {_last_telling_line(log)}"
    if UNHEALTHY.search(log):
        return ServiceUnhealthyError(message, log, service=_unhealthy_service(log))
    pulled = PULLED.search(log)
    service = pulled[1] if pulled else ""
    if UNREACHABLE.search(log):
        return RegistryUnreachableError(message, log, service=service)
    if NOT_FOUND.search(log):
        return ImageNotFoundError(message, log, service=service)
    if exit_code == PARSE_EXIT or INVALID.search(log):
        return ConfigInvalidError(message, log)
    return ComposeFailedError(message, log)


def _unhealthy_service(log: str) -> str:
    found = CONTAINER.search(log)
    # A container is called <project>-<service>-<number>.
    return "-".join(found[1].split("-")[1:-1]) if found else ""


def _last_telling_line(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:LONGEST_LINE] if lines else "it said nothing"
