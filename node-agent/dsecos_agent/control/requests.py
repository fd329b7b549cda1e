"""What may be asked, checked before anything is done."""

import base64
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from dsecos_agent.control.problems import ProblemError
from dsecos_agent.engines.model import ExecResult, Metrics

LONGEST_EXEC = 3600.0
"""Seconds."""

LARGEST_TERMINAL = 1000
"""Columns or rows."""

SHOWN = 100
"""Characters of a wrong value that are shown."""


def _decoded(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("should be base64 in a string")
    return base64.b64decode(value, validate=True)


Side = Annotated[int, Field(ge=1, le=LARGEST_TERMINAL)]
Word = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""What a program can be given."""
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ExecRequest(BaseModel):
    """A command in a guest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    argv: Annotated[tuple[Word, ...], Field(min_length=1)]
    env: Mapping[Variable, Word] = Field(default_factory=dict)
    stdin: Annotated[bytes, BeforeValidator(_decoded)] = b""
    time_limit: Annotated[float, Field(alias="timeLimit", gt=0, le=LONGEST_EXEC)] = 60.0
    """Seconds."""


class TerminalSize(BaseModel):
    """Of a console."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: Side = 80
    rows: Side = 24


class Resize(BaseModel):
    """What a text frame of a console says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resize: tuple[Side, Side]
    """Columns, rows."""


def parse_exec(body: bytes) -> ExecRequest:
    """Raises ProblemError."""
    try:
        return ExecRequest.model_validate_json(body)
    except ValidationError as error:
        raise wrong(error) from error


def parse_size(query: Mapping[str, str]) -> TerminalSize:
    """Raises ProblemError."""
    try:
        return TerminalSize.model_validate(dict(query))
    except ValidationError as error:
        raise wrong(error) from error


def wrong(error: ValidationError) -> ProblemError:
    """Names each field, its value (not of variables and input: they may be secret) and what is expected."""
    errors = []
    for each in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in each["loc"]) or "body"
        secret = field.partition(".")[0] in {"env", "stdin", "body"}
        value = "(not shown)" if secret else repr(each["input"])[:SHOWN]
        errors.append({"field": field, "value": value, "expected": each["msg"]})
    detail = "; ".join(f"{each['field']} is {each['value']}: {each['expected']}" for each in errors)
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, errors)


def exec_answer(result: ExecResult) -> dict[str, object]:
    """What is answered to an exec."""
    return {
        "exitCode": result.exit_code,
        "stdout": base64.b64encode(result.stdout).decode(),
        "stderr": base64.b64encode(result.stderr).decode(),
        "truncated": result.truncated,
    }


def metrics_answer(metrics: Metrics) -> dict[str, object]:
    """What is answered to metrics; null is what the engine does not tell."""
    return {
        "cpuSeconds": metrics.cpu_seconds,
        "cpuShare": metrics.cpu_share,
        "memoryBytes": metrics.memory_bytes,
        "pids": metrics.pids,
        "oomKills": metrics.oom_kills,
        "diskBytes": metrics.disk_bytes,
        "networkInBytes": metrics.network_in_bytes,
        "networkOutBytes": metrics.network_out_bytes,
        "uptimeSeconds": metrics.uptime_seconds,
    }
