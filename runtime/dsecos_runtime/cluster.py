"""The API server as controllers see it: typed reads and writes.

Nothing is retried here. A call either succeeds or raises a ClusterError, and the queue of the controller that
made it decides when to look again. Writes are told to observers (the cache), so that who writes also reads
what it wrote.

Sources: Kubernetes API concepts (server-side apply, preconditions, resource versions),
authentication.k8s.io/v1.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel

from dsecos_runtime.credentials import Credentials
from dsecos_runtime.errors import Conflict, NotFound
from dsecos_runtime.resources import LEASE, SERVICE_ACCOUNT, Key, Object, Resource
from dsecos_runtime.transport import Transport

T = TypeVar("T")

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
PAGE = 250
"""Objects in one page of a list: bounds the memory of a list of large objects."""

TRIES = 4
"""Attempts to write with a version that others keep changing."""

SERVER_SET = frozenset(
    {"uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields"}
)
"""What of the metadata is the server's and is not sent by an apply."""

Observer = Callable[[Resource[Any], Object, bool], None]
"""Called with a resource, an object that the server answered a write with, and whether the write removed it.
"""


class Token(NamedTuple):
    """A service account's token and when it ends."""

    token: str
    expires: datetime


class Cluster:
    """The API server. Raises ClusterError's subclasses only."""

    def __init__(self, credentials: Credentials, *, field_manager: str, timeout: float = 10.0) -> None:
        self.credentials = credentials
        self.field_manager = field_manager
        self.observers: list[Observer] = []
        self.fence: Callable[[], float] | None = None
        self._transport = Transport(credentials, timeout)

    @classmethod
    def connect(
        cls, kubeconfig: Path | None = None, *, field_manager: str = "dsecos", timeout: float = 10.0
    ) -> Cluster:
        """A client from a kubeconfig, else from $KUBECONFIG, else of the pod. Sends nothing yet.

        `timeout`: seconds for one call. Raises CredentialsError.
        """
        return cls(Credentials.find(kubeconfig), field_manager=field_manager, timeout=timeout)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport._client.aclose()

    # Reads

    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T:
        """Read one object. Raises NotFound."""
        return resource.decode(await self._call("get", resource, resource.path(namespace, name)))

    async def find(self, resource: Resource[T], name: str, namespace: str = "") -> T | None:
        """Read one object; None if it does not exist."""
        try:
            return await self.get(resource, name, namespace)
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        labels: str | Mapping[str, str] = "",
        fields: str | Mapping[str, str] = "",
    ) -> builtins.list[T]:
        """Read all objects, of all namespaces without `namespace`, that match both selectors."""
        raws, _ = await self.list_raw(resource, namespace, labels=labels, fields=fields)
        return [resource.decode(raw) for raw in raws]

    async def list_raw(
        self,
        resource: Resource[Any],
        namespace: str = "",
        *,
        labels: str | Mapping[str, str] = "",
        fields: str | Mapping[str, str] = "",
    ) -> tuple[builtins.list[Object], int]:
        """The objects in the server's form, and the resourceVersion at which they are all of them."""
        params = {"limit": str(PAGE)}
        params |= {"labelSelector": selector} if (selector := _selector(labels)) else {}
        params |= {"fieldSelector": selector} if (selector := _selector(fields)) else {}
        items: builtins.list[Object] = []
        while True:
            page = await self._call("list", resource, resource.path(namespace), params=params)
            items += page.get("items") or []
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return items, int(metadata["resourceVersion"])
            params["continue"] = metadata["continue"]

    async def served(self, resource: Resource[Any]) -> bool:
        """Whether the server knows this kind."""
        path = resource.path().rpartition("/")[0]
        try:
            found = await self._transport.call("get", path, kind="APIResourceList")
        except NotFound:
            return False
        return any(entry["name"] == resource.plural for entry in found.get("resources", ()))

    # Writes

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
        raw = _without_status(resource.encode(obj))
        kept = {"uid", "resourceVersion"} if exact else set()
        metadata = {
            name: value
            for name, value in raw["metadata"].items()
            if value not in ({}, [], None) and name not in SERVER_SET - kept
        }
        return await self._write("apply", resource, {**raw, "metadata": metadata}, field_manager, force=force)

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

    async def _call(
        self,
        verb: str,
        resource: Resource[Any],
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        fenced: bool = True,
    ) -> Object:
        # A lease is how leadership is had, so it cannot be under it. A write's time ends with the
        # leadership's.
        seconds = None
        if self.fence is not None and fenced and verb not in ("get", "list") and resource is not LEASE:
            seconds = self.fence()
        return await self._transport.call(
            verb,
            path,
            kind=resource.kind,
            params=params,
            body=body,
            content_type=content_type,
            seconds=seconds,
        )


def dump(status: BaseModel | Object) -> Object:
    """A status in its JSON form, without what is unset."""
    if isinstance(status, BaseModel):
        return status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return status


def _selector(value: str | Mapping[str, str]) -> str:
    return value if isinstance(value, str) else ",".join(f"{name}={text}" for name, text in value.items())


def _without_status(raw: Object) -> Object:
    return {name: value for name, value in raw.items() if name != "status"}
