"""Reading from the API server, and the one call that all reads and writes go through.

Sources: Kubernetes API concepts (lists in chunks, selectors, discovery).
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from dsecos_runtime.credentials import Credentials
from dsecos_runtime.errors import NotFound
from dsecos_runtime.resources import LEASE, Object, Resource
from dsecos_runtime.transport import READS, Transport

T = TypeVar("T")

PAGE = 250
"""Objects in one page of a list: bounds the memory of a list of large objects."""


class Reader:
    """The API server, to read from. Raises ClusterError's subclasses only."""

    def __init__(self, credentials: Credentials, *, timeout: float = 10.0) -> None:
        """`timeout`: seconds for one call."""
        self.credentials = credentials
        self.fence: Callable[[], float] | None = None
        """Called before each write: seconds for which it may be done. Raises LeadershipLost."""
        self._transport = Transport(credentials, timeout)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T:
        """Read one object. Raises NotFound."""
        return resource.decode(await self.get_raw(resource, name, namespace))

    async def get_raw(self, resource: Resource[Any], name: str, namespace: str = "") -> Object:
        """Read one object in the server's form. Raises NotFound."""
        return await self._call("get", resource, resource.path(namespace, name))

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
        if self.fence is not None and fenced and verb not in READS and resource is not LEASE:
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


def _selector(value: str | Mapping[str, str]) -> str:
    return value if isinstance(value, str) else ",".join(f"{name}={text}" for name, text in value.items())
