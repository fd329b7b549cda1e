"""Backup: what to back up, when, and how it is proven restorable. Written by users.

Its controller comes later; until then the operator says so in the condition Ready.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from dsecos_api.base import ApiModel, KindInfo, KubeObject, PrinterColumn, rule, schema
from dsecos_api.shared import SecretKeyRef, Status
from dsecos_api.types import Port, Time

CRON_PATTERN = r"^(@(hourly|daily|weekly|monthly|yearly)|(\S+\s+){4}\S+)$"


class Selector(ApiModel):
    """Stacks of the Backup's namespace."""

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        min_length=1, max_length=16, description="Labels that a Stack must have, all of them."
    )


class Schedule(ApiModel):
    """When to run."""

    cron: str = Field(
        description="Five fields of crontab(5), or @daily and its kin.", pattern=CRON_PATTERN, max_length=100
    )
    time_zone: str | None = Field(default=None, description="IANA time zone. Unset: UTC.", max_length=64)


class Retention(ApiModel):
    """How many recovery points to keep."""

    model_config = ConfigDict(
        json_schema_extra=schema(
            rule(
                "has(self.last) || has(self.daily) || has(self.weekly) || has(self.monthly)",
                "keep something: name at least one of last, daily, weekly and monthly",
            )
        )
    )

    last: int | None = Field(default=None, ge=1, le=1000, description="The newest ones.")
    daily: int | None = Field(default=None, ge=1, le=1000, description="The last of each day.")
    weekly: int | None = Field(default=None, ge=1, le=1000, description="The last of each week.")
    monthly: int | None = Field(default=None, ge=1, le=1000, description="The last of each month.")


class Repository(ApiModel):
    """Where recovery points are kept, encrypted."""

    url: str = Field(
        description="Repository, for example s3://backups.example/acme.", min_length=3, max_length=1024
    )
    password_secret_ref: SecretKeyRef = Field(description="Key of the encryption.")


class HttpProbe(ApiModel):
    """A request that must answer 200."""

    port: Port = Field(description="Port in the guest.")
    path: str = Field(default="/", description="Path. Unset: /.", pattern=r"^/", max_length=1024)


class Probe(ApiModel):
    """How to tell that a restored copy works."""

    http: HttpProbe = Field(description="A request that must answer 200.")


class Verify(ApiModel):
    """When and how restorability is proven."""

    cron: str = Field(
        description="Five fields of crontab(5), or @daily and its kin.", pattern=CRON_PATTERN, max_length=100
    )
    probe: Probe | None = Field(default=None, description="How to tell that a restored copy works.")


class BackupSpec(ApiModel):
    """What to back up, when, and where to."""

    selector: Selector = Field(description="Which Stacks.")
    schedule: Schedule | None = Field(default=None, description="When. Unset: once, now.")
    retention: Retention | None = Field(default=None, description="How many to keep. Unset: all.")
    repository: Repository = Field(description="Where to.")
    verify: Verify | None = Field(default=None, description="When restorability is proven.")
    suspend: bool | None = Field(default=None, description="True: no new run starts.")
    paused: bool | None = Field(
        default=None, description="True: controllers look, report and change nothing."
    )


class BackupStatus(Status):
    """What was seen."""

    last_successful_time: Time | None = Field(default=None, description="When the last run succeeded.")
    next_run_time: Time | None = Field(default=None, description="When the next run is due.")


class Backup(KubeObject):
    """What to back up, when, and how it is proven restorable."""

    info: ClassVar[KindInfo] = KindInfo(
        plural="backups",
        singular="backup",
        short_names=("bk",),
        namespaced=True,
        description="What to back up, when, and how it is proven restorable.",
        columns=(
            PrinterColumn("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
            PrinterColumn("Schedule", ".spec.schedule.cron"),
            PrinterColumn("Last", ".status.lastSuccessfulTime", "date"),
            PrinterColumn("Next", ".status.nextRunTime", "date"),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )

    kind: str = "Backup"
    spec: BackupSpec
    status: BackupStatus = Field(default_factory=BackupStatus)
