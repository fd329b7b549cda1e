"""Rules of Backup."""

from __future__ import annotations

from tests.api.rules import Pair, Table, below, between, cel, max_length, min_length, pattern, required
from tests.api.rules.parts import PORT, SECRET_KEY_REF, STATUS, TIME

CRON = (
    pattern(
        ["0 2 * * *", "*/5 0-6 1,15 * MON-FRI", "@daily", "@hourly"],
        ["", "0 2 * *", "0 0 2 * * *", "@sometimes", "daily"],
    ),
    max_length(100, "0 2 * * "),
)
COUNT = between(1, 1000)

TABLES = (
    Table(
        "Backup",
        "nightly",
        {
            "": required("spec"),
            "spec": required("selector", "repository"),
            "spec.selector": required("matchLabels"),
            "spec.selector.matchLabels": (
                Pair("minProperties", ({"app": "shop"},), ({},), "at least 1 properties"),
                Pair(
                    "maxProperties",
                    ({f"l{number}": "" for number in range(16)},),
                    ({f"l{number}": "" for number in range(17)},),
                    "Too many",
                ),
            ),
            "spec.selector.matchLabels.*": (max_length(63),),
            "spec.schedule": required("cron"),
            "spec.schedule.cron": CRON,
            "spec.schedule.timeZone": (max_length(64),),
            "spec.retention": (
                cel(
                    "keep something: name at least one of last, daily, weekly and monthly",
                    [{"last": 1}, {"daily": 1}, {"weekly": 1}, {"monthly": 1}],
                    [{}],
                ),
            ),
            "spec.retention.last": COUNT,
            "spec.retention.daily": COUNT,
            "spec.retention.weekly": COUNT,
            "spec.retention.monthly": COUNT,
            "spec.repository": required("url", "passwordSecretRef"),
            "spec.repository.url": (min_length("s3:", "s3"), max_length(1024)),
            **below("spec.repository.passwordSecretRef", SECRET_KEY_REF),
            "spec.verify": required("cron"),
            "spec.verify.cron": CRON,
            "spec.verify.probe": required("http"),
            "spec.verify.probe.http": required("port"),
            "spec.verify.probe.http.port": PORT,
            "spec.verify.probe.http.path": (
                pattern(["/", "/healthz"], ["", "healthz"]),
                max_length(1024, "/"),
            ),
            **STATUS,
            "status.lastSuccessfulTime": TIME,
            "status.nextRunTime": TIME,
        },
    ),
)
