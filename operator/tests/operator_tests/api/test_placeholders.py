"""Kinds whose controller comes later say so, and a License says what it is good for."""

from __future__ import annotations

import pytest
from dsecos_api import Reason, Type
from dsecos_runtime import BACKUP, LICENSE

from . import cloud as given
from .cloud import Cloud, message, reason, truth
from .conftest import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_backup_says_that_nothing_is_backed_up(cloud: Cloud, tenant: Tenant) -> None:
    spec = {
        "selector": {"matchLabels": {"app": "shop"}},
        "repository": {
            "url": "s3://backups.example/acme",
            "passwordSecretRef": {"name": "backup-key", "key": "password"},
        },
    }
    metadata = {"name": "nightly", "namespace": tenant.name}
    await cloud.apply({"apiVersion": given.VERSION, "kind": "Backup", "metadata": metadata, "spec": spec})
    found = await cloud.wait(
        BACKUP, "nightly", tenant.name, lambda each: truth(each, Type.READY) == "Unknown"
    )
    assert reason(found, Type.READY) == Reason.CONTROLLER_NOT_AVAILABLE
    assert "nothing is backed up" in message(found, Type.READY)
    assert found.status.observed_generation == 1


async def test_a_license_with_a_token_cannot_be_judged_yet(cloud: Cloud) -> None:
    ref = {"namespace": "dsecos-system", "name": "license", "key": "token"}
    spec = {"server": "https://license.example", "keySecretRef": ref}
    metadata = {"name": "bought"}
    await cloud.apply({"apiVersion": given.VERSION, "kind": "License", "metadata": metadata, "spec": spec})
    found = await cloud.wait(LICENSE, "bought", "", lambda each: truth(each, Type.READY) == "Unknown")
    assert reason(found, Type.READY) == Reason.CONTROLLER_NOT_AVAILABLE
    await cloud.delete(LICENSE, "bought")


async def test_a_development_license_is_valid(cloud: Cloud) -> None:
    found = await cloud.wait(LICENSE, "dsecos", "", lambda each: truth(each, Type.READY) == "True")
    assert reason(found, Type.VALID) == Reason.DEVELOPMENT_LICENSE
