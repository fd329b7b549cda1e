"""What a Stack refers to and the cache does not hold: Secrets and ConfigMaps, read when they are needed."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from dsecos_api import Reason, Stack
from dsecos_api.shared import SecretValue
from dsecos_api.stack import ConfigMapKeyRef
from dsecos_runtime import CONFIG_MAP, SECRET, Cache, Cluster, Key

from dsecos_operator.kinds import CONFIG_MAP_STAMP, SECRET_STAMP
from dsecos_operator.rendering.refused import Refused
from dsecos_operator.stacks.desired import secrets_digest

MAX_SECRET = 100_000
"""Bytes of one secret: Linux passes at most 128 KiB in one environment variable (execve(2), MAX_ARG_STRLEN).
"""
KEPT = 4096
Versions = tuple[tuple[str, str, str, str], ...]


class References:
    """Reads through to the API server. Keeps digests of secrets, never secrets."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache
        self._digests: OrderedDict[str, tuple[Versions, str]] = OrderedDict()

    async def secrets_digest(self, stack: Stack) -> str | None:
        """None if the Stack declares no secrets. Raises Refused (SecretNotFound); reads only what has
        changed.
        """
        declared = secret_values(stack)
        if not declared:
            return None
        versions = self._versions(stack, declared)
        known = self._digests.get(stack.uid)
        if known is None or known[0] != versions:
            digest = secrets_digest(stack.uid, await self.secrets(stack))
            self._digests[stack.uid] = known = (versions, digest)
            while len(self._digests) > KEPT:
                self._digests.popitem(last=False)
        self._digests.move_to_end(stack.uid)
        return known[1]

    async def secrets(self, stack: Stack) -> Mapping[str, bytes]:
        """The values, by the names that the document uses. Raises Refused (SecretNotFound, ValuesInvalid)."""
        read: dict[str, Mapping[str, str]] = {}
        values: dict[str, bytes] = {}
        for each in secret_values(stack):
            ref = each.secret_key_ref
            if ref.name not in read:
                found = await self._cluster.find(SECRET, ref.name, stack.namespace)
                if found is None:
                    raise _missing(each)
                read[ref.name] = found.get("data") or {}
            if ref.key not in read[ref.name]:
                raise _missing(each, f"Secret {ref.name} has no key {ref.key}")
            value = base64.b64decode(read[ref.name][ref.key])
            if b"\0" in value or len(value) > MAX_SECRET:
                raise Refused(
                    Reason.VALUES_INVALID,
                    f"secretValues.{each.name}: key {ref.key} of Secret {ref.name} must be text of at most"
                    f" {MAX_SECRET} bytes, without NUL",
                )
            values[each.name] = value
        return values

    async def compose_text(self, stack: Stack, ref: ConfigMapKeyRef) -> str:
        """The document in a ConfigMap. Raises Refused (ComposeNotFound)."""
        path = f"spec.compose.configMapRef: ConfigMap {ref.name}"
        if self._cache.get(CONFIG_MAP_STAMP, Key(stack.namespace, ref.name)) is None:
            raise Refused(Reason.COMPOSE_NOT_FOUND, f"{path} does not exist in namespace {stack.namespace}")
        found = await self._cluster.find(CONFIG_MAP, ref.name, stack.namespace)
        text = ((found or {}).get("data") or {}).get(ref.key)
        if not isinstance(text, str):
            raise Refused(Reason.COMPOSE_NOT_FOUND, f"{path} has no key {ref.key}")
        return text

    def _versions(self, stack: Stack, declared: Sequence[SecretValue]) -> Versions:
        versions = []
        for each in declared:
            ref = each.secret_key_ref
            stamp = self._cache.get(SECRET_STAMP, Key(stack.namespace, ref.name))
            if stamp is None:
                raise _missing(each)
            versions.append((each.name, ref.key, *stamp.version))
        return tuple(versions)


def secret_values(stack: Stack) -> Sequence[SecretValue]:
    """The secrets that the Stack declares."""
    source = stack.spec.template or stack.spec.compose
    return source.secret_values if source is not None else ()


def _missing(value: SecretValue, why: str = "") -> Refused:
    name = value.secret_key_ref.name
    return Refused(
        Reason.SECRET_NOT_FOUND,
        f"secretValues.{value.name}: {why or f'Secret {name} does not exist in the namespace of the Stack'}",
    )
