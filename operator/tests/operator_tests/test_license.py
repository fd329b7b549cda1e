"""What a License entitles to."""

from __future__ import annotations

from typing import Any

import pytest
from dsecos_api import License, Reason
from dsecos_operator.license.check import check


def license_(**spec: Any) -> License:
    return License.parse({"metadata": {"name": "dsecos"}, "spec": spec})


TOKEN = license_(keySecretRef={"namespace": "dsecos-system", "name": "license", "key": "token"})


@pytest.mark.parametrize(
    ("licenses", "licensed", "reason"),
    [
        ([], False, Reason.LICENSE_MISSING),
        ([license_(development=True)], True, Reason.DEVELOPMENT_LICENSE),
        ([TOKEN], False, Reason.LICENSE_NOT_VALIDATED),
        ([TOKEN, license_(development=True)], True, Reason.DEVELOPMENT_LICENSE),
    ],
)
def test_one_development_license_is_enough(licenses: list[License], licensed: bool, reason: Reason) -> None:
    verdict = check(licenses)
    assert (verdict.licensed, verdict.reason) == (licensed, reason)
