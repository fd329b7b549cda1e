"""The process renews its own token before it ends.

A part's kubeconfig holds a service account's token that is bound to a Secret and ends after some hours. At
about 70 % of its life a new one with the same binding is asked for and put in its place on disk; both clients
read it from there. A token of a file that the kubelet keeps is left to the kubelet.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import yaml

from dsecos_runtime.cluster import Cluster, Token
from dsecos_runtime.conditions import utcnow
from dsecos_runtime.credentials import Credentials
from dsecos_runtime.errors import ClusterError
from dsecos_runtime.logs import get_logger
from dsecos_runtime.resources import Object

RENEW = (0.65, 0.75)
"""Part of a token's life after which it is renewed: some moment in this range, so that nodes do not ask all
at once.
"""
LOOK = 60.0
"""Seconds between two looks at the clock, which may jump."""


@dataclass(frozen=True)
class Claims:
    """What a service account's token says of itself (authentication.k8s.io/v1, RFC 7519)."""

    namespace: str
    service_account: str
    issued: datetime
    expires: datetime
    bound_secret: Object | None

    @property
    def life(self) -> timedelta:
        """From issue to end."""
        return self.expires - self.issued

    @classmethod
    def parse(cls, token: str) -> Claims | None:
        """Read them, unverified; None if this is no service account's token with an end."""
        try:
            payload = token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            account = claims["kubernetes.io"]
            secret = account.get("secret")
            return cls(
                account["namespace"],
                account["serviceaccount"]["name"],
                datetime.fromtimestamp(claims["iat"], UTC),
                datetime.fromtimestamp(claims["exp"], UTC),
                {"metadata": {"name": secret["name"], "uid": secret["uid"]}} if secret else None,
            )
        except (ValueError, KeyError, IndexError, TypeError):
            return None


class TokenRotator:
    """Keeps the process's token fresh."""

    def __init__(
        self, cluster: Cluster, credentials: Credentials, *, now: Callable[[], datetime] = utcnow
    ) -> None:
        self._cluster, self._credentials, self._now = cluster, credentials, now

    async def run(self) -> NoReturn:
        """Renew for ever; a renewal that fails is tried again within a minute."""
        while True:
            token = self._credentials.token
            claims = Claims.parse(token) if token and self._credentials.kubeconfig else None
            if claims is None:
                await asyncio.sleep(LOOK)
                continue
            due = claims.issued + claims.life * random.uniform(*RENEW)  # noqa: S311
            while self._credentials.token == token and self._now() < due:  # noqa: ASYNC110 - a clock and a file
                await asyncio.sleep(min(LOOK, max(0.0, (due - self._now()).total_seconds())))
            if self._credentials.token == token:
                await self._renew(claims)

    async def _renew(self, claims: Claims) -> None:
        try:
            await self.rotate(claims)
        except (ClusterError, OSError) as error:
            get_logger().warning("token not renewed", error=str(error), expires=str(claims.expires))
            await asyncio.sleep(min(LOOK, max(5.0, claims.life.total_seconds() / 100)))

    async def rotate(self, claims: Claims) -> Token:
        """Ask for a new token like the present one and put it in its place. Raises ClusterError, OSError."""
        token = await self._cluster.request_token(
            claims.namespace,
            claims.service_account,
            expiration=claims.life,
            bound_secret=claims.bound_secret,
            fenced=False,
        )
        await asyncio.to_thread(store_token, self._credentials, token.token)
        self._credentials.reload()
        get_logger().info("token renewed", expires=str(token.expires))
        return token


def store_token(credentials: Credentials, token: str) -> None:
    """Write the token to where the present one was read from, atomically. Raises OSError."""
    source = credentials.source
    if source is None:
        raise OSError("no file holds the token")
    if source != credentials.kubeconfig:
        write_atomically(source, token)
        return
    document = yaml.safe_load(source.read_text())
    name = credentials.config.context.user
    for user in document["users"]:
        if user["name"] == name:
            user["user"]["token"] = token
    write_atomically(source, yaml.safe_dump(document, sort_keys=False))


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by a new one with its mode and owner; a reader sees the old or the new one. Raises
    OSError.
    """
    before = path.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, before.st_mode & 0o777)
            if os.geteuid() == 0:
                os.fchown(descriptor, before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
