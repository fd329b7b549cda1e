"""The process renews its own token, and uses whatever token lies on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from dsecos_runtime import CONFIG_MAP, SECRET, Cluster, Controller, Forbidden, Input, Key, Requeue, utcnow
from dsecos_runtime.testing import Run
from dsecos_runtime.tokens import Claims, TokenRotator, store_token, write_atomically

from tests.patience import async_until

Make = Callable[..., Any]
LIFE = timedelta(minutes=10)


class Watcher(Controller):
    """Watches, and does nothing."""

    name = "watcher"
    inputs = (Input(CONFIG_MAP),)

    async def reconcile(self, key: Key) -> Requeue | None:
        return None


def token_of(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])


async def test_a_token_is_renewed_in_place_before_it_ends(kubeconfig_of: Make, namespace: str) -> None:
    kubeconfig = await kubeconfig_of("agent", life=LIFE, admin=True)
    first = token_of(kubeconfig)
    ours = Cluster.connect(kubeconfig)

    def almost_over_for_the_first() -> datetime:
        ahead = timedelta(minutes=7, seconds=45)
        return utcnow() + ahead if ours.credentials.token == first else utcnow()

    rotator = TokenRotator(ours, ours.credentials, now=almost_over_for_the_first)
    rotating = asyncio.create_task(rotator.run())
    await async_until(lambda: ours.credentials.token != first)
    rotating.cancel()
    second = token_of(kubeconfig)
    before, after = Claims.parse(first), Claims.parse(second)
    assert before is not None
    assert after is not None
    assert (after.namespace, after.service_account, after.life) == (namespace, "agent", LIFE)
    assert after.bound_secret == before.bound_secret
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    assert ours.credentials.token == second
    await ours.list(CONFIG_MAP, namespace)
    await ours.close()


async def test_it_is_not_renewed_early(kubeconfig_of: Make) -> None:
    kubeconfig = await kubeconfig_of("agent", life=LIFE, admin=True)
    first = token_of(kubeconfig)
    ours = Cluster.connect(kubeconfig)
    rotator = TokenRotator(ours, ours.credentials, now=lambda: utcnow() + timedelta(minutes=6))
    rotating = asyncio.create_task(rotator.run())
    await asyncio.sleep(0.5)
    assert token_of(kubeconfig) == first
    rotating.cancel()
    await ours.close()


async def test_a_token_that_was_replaced_on_disk_is_used_at_once(
    kubeconfig_of: Make, start: Callable[..., Run], cluster: Cluster, namespace: str, config_map: Make
) -> None:
    """The first token ends with its Secret: client and watch go on with the second."""
    kubeconfig = await kubeconfig_of("agent", admin=True)
    run = start(lambda _: [Watcher()], kubeconfig=kubeconfig, watch_timeout=2.0)
    await async_until(lambda: hasattr(run, "runtime"))
    await async_until(lambda: run.runtime.cache.watches and run.runtime.cache.ready())
    second = await cluster.request_token(namespace, "agent", expiration=timedelta(hours=1))
    await cluster.delete(SECRET, "agent", namespace)
    store_token(run.runtime.credentials, second.token)
    await asyncio.sleep(11)  # the API server believes in a token for 10 s after it has looked
    await cluster.apply(CONFIG_MAP, config_map())
    await async_until(lambda: run.runtime.cache.get(CONFIG_MAP, Key(namespace, "cm")))
    await run.runtime.cluster.list(CONFIG_MAP, namespace)
    assert not run.ended


async def test_a_token_file_is_rewritten_too(kubeconfig_of: Make, tmp_path: Path) -> None:
    kubeconfig = await kubeconfig_of("agent", admin=True)
    document = yaml.safe_load(kubeconfig.read_text())
    file = tmp_path / "token"
    file.write_text(document["users"][0]["user"]["token"])
    file.chmod(0o640)
    document["users"][0]["user"] = {"tokenFile": "token"}
    kubeconfig.write_text(yaml.safe_dump(document))
    ours = Cluster.connect(kubeconfig)
    claims = Claims.parse(ours.credentials.token or "")
    assert claims is not None
    token = await TokenRotator(ours, ours.credentials).rotate(claims)
    assert file.read_text() == token.token
    assert file.stat().st_mode & 0o777 == 0o640
    assert yaml.safe_load(kubeconfig.read_text()) == document
    await ours.close()


async def test_an_account_without_the_right_keeps_its_token(kubeconfig_of: Make) -> None:
    kubeconfig = await kubeconfig_of("agent")
    first = token_of(kubeconfig)
    ours = Cluster.connect(kubeconfig)
    claims = Claims.parse(first)
    assert claims is not None
    with pytest.raises(Forbidden):
        await TokenRotator(ours, ours.credentials).rotate(claims)
    assert token_of(kubeconfig) == first
    await ours.close()


@pytest.mark.parametrize("token", ["", "a.b.c", "opaque", "e30.e30.e30", "e30.bnVsbA.e30"])
def test_what_is_no_service_account_token_has_no_claims(token: str) -> None:
    assert Claims.parse(token) is None


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
