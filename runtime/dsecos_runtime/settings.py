"""What can be set of a controller process, by its part's code or by the environment (prefix DSECOS_)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

PREFIX = "DSECOS_"

LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]

WRONG_SETTINGS = 78
"""Exit code: EX_CONFIG of sysexits.h."""


class RuntimeSettings(BaseSettings):
    """How a controller process runs. A part passes what it knows; the environment gives the rest."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, populate_by_name=True, extra="ignore")

    name: str
    """The part: field manager of its writes, "component" of its logs, reporter of its events."""

    kubeconfig: Path | None = Field(
        default=None, validation_alias=AliasChoices("DSECOS_KUBECONFIG", "KUBECONFIG")
    )
    """Who we are and where the API server is. None: the pod's service account."""

    clusterwide: bool = False
    """Watch all namespaces."""

    namespaces: list[str] = Field(default_factory=list)
    """Watch these namespaces instead. Cluster-scoped kinds are watched in both cases."""

    lease: str = ""
    """Name of the Lease that must be held to act; empty: act without."""

    lease_namespace: str = "dsecos-system"
    """Namespace of that Lease."""

    lease_duration: float = 15.0
    """Seconds after which others take over from a leader that does not renew."""

    lease_renew_deadline: float = 10.0
    """Seconds after which a leader that cannot renew stops acting."""

    lease_retry: float = 2.0
    """Seconds between attempts to take or renew the Lease."""

    metrics_port: int = 0
    """Port of /metrics on 127.0.0.1; 0: none."""

    rotate_token: bool = True
    """Renew the kubeconfig's service account token before it ends."""

    log_level: LogLevel = "INFO"
    """The least that is told."""

    request_timeout: float = 10.0
    """Seconds that one call to the API server may take."""

    watch_timeout: float = 300.0
    """Seconds after which a watch is asked for anew."""

    relist_interval: float = 300.0
    """Seconds after which the cache is compared with a fresh list."""

    progress_interval: float = 10.0
    """Least seconds between two progress writes to the status of one object."""

    stop_grace: float = 20.0
    """Seconds that running passes may take to end after SIGTERM."""


def read_settings(read: Callable[[], SettingsT]) -> SettingsT:
    """A process's settings. Where they are wrong it ends, with a line on standard error for each of them:
    nothing was begun yet.
    """
    try:
        return read()
    except ValidationError as error:
        told = [_told(each) for each in error.errors()]
    except SettingsError as error:
        told = [f"{error}: {error.__cause__}"]
    sys.stderr.writelines(f"error: {line}\n" for line in told)
    sys.exit(WRONG_SETTINGS)


def _told(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"]))
    variable = name if name.isupper() else f"{PREFIX}{name.upper()}"
    given = "is not set" if error["type"] == "missing" else f"is {error['input']!r}"
    return f"{variable} {given}: {error['msg']}"
