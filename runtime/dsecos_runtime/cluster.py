"""The API server as controllers see it: typed writes beside the reads of `Reader`.

Nothing is retried here. A call either succeeds or raises a ClusterError, and the queue of the controller that
made it decides when to look again. Writes are told to observers (the cache), so that who writes also reads
what it wrote.

Sources: Kubernetes API concepts (server-side apply, preconditions, resource versions),
authentication.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel

from dsecos_runtime.credentials import Credentials
from dsecos_runtime.errors import Conflict, NotFound
from dsecos_runtime.reader import Reader
from dsecos_runtime.resources import SERVICE_ACCOUNT, Key, Object, Resource

T = TypeVar("T")

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
TRIES = 4
"""Attempts to write with a version that others keep changing."""

SERVER_SET = frozenset(
    {"uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields"}
)
"""What of the metadata is the server's and is not sent by an apply."""

Observer = Callable[[Resource[Any], Object, bool], None]
"""Called with a resource, the object that a write was answered with, and whether the write removed it."""


class Token(NamedTuple):
    """A service account's token and when it ends."""

    token: str
    expires: datetime


class Cluster(Reader):
    """The API server. Raises ClusterError's subclasses only."""

    def __init__(self, credentials: Credentials, *, field_manager: str, timeout: float = 10.0) -> None:
        super().__init__(credentials, timeout=timeout)
        self.field_manager = field_manager
        self.observers: list[Observer] = []

    @classmethod
    def connect(
        cls, kubeconfig: Path | None = None, *, field_manager: str = "dsecos", timeout: float = 10.0
    ) -> Cluster:
        """A client from a kubeconfig, else from $KUBECONFIG, else of the pod. Sends nothing yet.

        `timeout`: seconds for one call. Raises CredentialsError.
        """
        return cls(Credentials.find(kubeconfig), field_manager=field_manager, timeout=timeout)

    async def create(self, resource: Resource[T], obj: T | Object, *, field_manager: str = "") -> T:
        """Create an object. Raises Conflict if it exists."""
        raw = _without_status(resource.encode(obj))
        return await self._write("create", resource, raw, field_manager)

    async def replace(self, resource: Resource[T], obj: T | Object, *, field_manager: str = "") -> T:
        """Replace an object; its resourceVersion is the precondition. Raises Conflict, NotFound."""
        return await self._write("replace", resource, resource.encode(obj), field_manager)

    async def apply(
        self,
        resource: Resource[T],
        obj: T | Object,
        *,
        field_manager: str = "",
        force: bool = True,
        exact: bool = False,
    ) -> T:
        """Server-side apply of what `obj` holds, without status and what the server sets in metadata.

        `exact` keeps its resourceVersion and uid as preconditions (Conflict).
        """
        kept = {"uid", "resourceVersion"} if exact else set[str]()
        raw = to_apply(resource, obj, kept)
        return await self._write("apply", resource, raw, field_manager, force=force)

    async def apply_status(
        self,
        resource: Resource[T],
        target: T | Object | Key,
        status: BaseModel | Object,
        *,
        field_manager: str = "",
    ) -> T:
        """Server-side apply to the status subresource. Prefer StatusWriter, which skips what changes nothing.

        With an object as target nobody else is written to: Conflict if another one bears the name now.
        NotFound if it is gone.
        """
        if isinstance(target, Key):
            named = {"name": target.name, "namespace": target.namespace}
            return await self._apply_status(resource, named, status, field_manager)
        # The API server ignores the uid in an apply to a status, so the version has to stand for it.
        metadata = resource.encode(target)["metadata"]
        named = {name: metadata.get(name) for name in ("name", "namespace", "resourceVersion")}
        for _ in range(TRIES - 1):
            try:
                return await self._apply_status(resource, named, status, field_manager)
            except Conflict:
                fresh = await self._call(
                    "get", resource, resource.path(named["namespace"] or "", named["name"])
                )
                if fresh["metadata"]["uid"] != metadata.get("uid"):
                    raise
                named["resourceVersion"] = fresh["metadata"]["resourceVersion"]
        return await self._apply_status(resource, named, status, field_manager)

    async def patch(self, resource: Resource[T], key: Key, merge: Object, *, field_manager: str = "") -> T:
        """JSON merge patch (RFC 7386). Raises NotFound; Conflict if its resourceVersion is outdated."""
        answer = await self._call(
            "patch",
            resource,
            resource.path(key.namespace, key.name),
            params={"fieldManager": field_manager or self.field_manager},
            body=merge,
            content_type=MERGE,
        )
        return self._seen(resource, answer)

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
    ) -> None:
        """Delete an object. Raises NotFound if it is gone; Conflict if uid or resource_version differ."""
        preconditions = {
            name: value for name, value in (("uid", uid), ("resourceVersion", resource_version)) if value
        }
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        options |= {"preconditions": preconditions} if preconditions else {}
        answer = await self._call("delete", resource, resource.path(namespace, name), body=options)
        if answer.get("kind") == resource.kind:  # it waits for its finalizers
            self._seen(resource, answer)

    async def add_finalizer(self, resource: Resource[T], obj: T | Object, finalizer: str) -> T:
        """Make sure that the object carries the finalizer; writes nothing if it does.

        Raises NotFound if it is gone, Invalid if it is being deleted already.
        """
        return await self._finalizers(resource, resource.encode(obj), finalizer, wanted=True)

    async def remove_finalizer(self, resource: Resource[T], obj: T | Object, finalizer: str) -> T | None:
        """Make sure that the object does not carry the finalizer. None if the object is gone."""
        try:
            found = await self._finalizers(resource, resource.encode(obj), finalizer, wanted=False)
        except NotFound:
            return None
        metadata = resource.encode(found)["metadata"]
        return None if metadata.get("deletionTimestamp") and not metadata.get("finalizers") else found

    async def request_token(
        self,
        namespace: str,
        service_account: str,
        *,
        expiration: timedelta,
        audiences: Sequence[str] = (),
        bound_secret: Object | None = None,
        fenced: bool = True,
    ) -> Token:
        """A token for a service account, at least 10 minutes long (TokenRequest). It ends with
        `bound_secret`, if given.
        """
        spec: Object = {"expirationSeconds": int(expiration.total_seconds()), "audiences": list(audiences)}
        if bound_secret is not None:
            metadata = bound_secret["metadata"]
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": "Secret",
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
        answer = await self._call(
            "create",
            SERVICE_ACCOUNT,
            SERVICE_ACCOUNT.path(namespace, service_account, "token"),
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
            fenced=fenced,
        )
        status = answer["status"]
        return Token(status["token"], datetime.fromisoformat(status["expirationTimestamp"]))

    # Inside

    async def _write(
        self,
        verb: str,
        resource: Resource[T],
        raw: Object,
        field_manager: str,
        *,
        subresource: str = "",
        force: bool = False,
    ) -> T:
        key = Key.of(raw)
        params = {"fieldManager": field_manager or self.field_manager}
        params |= {"force": "true"} if force else {}
        answer = await self._call(
            verb,
            resource,
            resource.path(key.namespace, "" if verb == "create" else key.name, subresource),
            params=params,
            body=raw,
            content_type=APPLY if verb == "apply" else "application/json",
        )
        return self._seen(resource, answer)

    async def _apply_status(
        self, resource: Resource[T], named: Object, status: BaseModel | Object, field_manager: str
    ) -> T:
        raw = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {name: value for name, value in named.items() if value},
            "status": dump(status),
        }
        return await self._write("apply", resource, raw, field_manager, subresource="status", force=True)

    async def _finalizers(self, resource: Resource[T], raw: Object, finalizer: str, *, wanted: bool) -> T:
        uid, key = raw["metadata"].get("uid"), Key.of(raw)
        for _ in range(TRIES - 1):
            try:
                return await self._finalizer(resource, raw, finalizer, wanted)
            except Conflict:
                raw = await self._call("get", resource, resource.path(key.namespace, key.name))
                if raw["metadata"]["uid"] != uid:
                    raise NotFound(
                        f"{resource} {key}: another object bears its name now", status=404
                    ) from None
        return await self._finalizer(resource, raw, finalizer, wanted)

    async def _finalizer(self, resource: Resource[T], raw: Object, finalizer: str, wanted: bool) -> T:
        metadata = raw["metadata"]
        present = metadata.get("finalizers") or []
        if (finalizer in present) == wanted:
            return resource.decode(raw)
        changed = [*present, finalizer] if wanted else [name for name in present if name != finalizer]
        merge = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": changed}}
        return await self.patch(resource, Key.of(raw), merge)

    def _seen(self, resource: Resource[T], raw: Object) -> T:
        metadata = raw["metadata"]
        removed = bool(metadata.get("deletionTimestamp")) and not metadata.get("finalizers")
        for observer in self.observers:
            observer(resource, raw, removed)
        return resource.decode(raw)


def dump(status: BaseModel | Object) -> Object:
    """A status in its JSON form, without what is unset."""
    if isinstance(status, BaseModel):
        return status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return status


def to_apply(resource: Resource[Any], obj: Any, kept: Collection[str] = ()) -> Object:
    """What an apply of `obj` sends: no status, and of the server's own metadata only what is `kept`."""
    raw = _without_status(resource.encode(obj))
    metadata = {
        name: value
        for name, value in raw["metadata"].items()
        if value not in ({}, [], None) and (name not in SERVER_SET or name in kept)
    }
    return {**raw, "metadata": metadata}


def _without_status(raw: Object) -> Object:
    return {name: value for name, value in raw.items() if name != "status"}
