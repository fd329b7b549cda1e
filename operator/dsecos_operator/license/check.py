"""What the Licenses of the cluster entitle to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dsecos_api import License, Reason


@dataclass(frozen=True)
class Verdict:
    """Whether new deployments may be made, and why."""

    licensed: bool
    reason: Reason
    message: str = ""


def check(licenses: Iterable[License]) -> Verdict:
    """One development License is enough. A token cannot be judged by this version."""
    present = [each for each in licenses if not each.deleting]
    if any(each.spec.development for each in present):
        return Verdict(True, Reason.DEVELOPMENT_LICENSE)
    if present:
        names = ", ".join(sorted(each.name for each in present))
        return Verdict(
            False,
            Reason.LICENSE_NOT_VALIDATED,
            f"License {names} names a token, which this version cannot validate; use spec.development: true",
        )
    return Verdict(
        False, Reason.LICENSE_MISSING, "there is no License; apply one with spec.development: true"
    )
