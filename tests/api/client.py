"""A small client of the Kubernetes API that shows what the server said, in its own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dsecos_api import API_VERSION, KINDS

from tests.reader import connect

Object = dict[str, Any]

PLURALS = {kind.__name__: kind.info.plural for kind in KINDS}


class RefusedError(Exception):
    """The API server refused a request; `status` is the Status (meta/v1) that it answered."""

    def __init__(self, status: Object) -> None:
        super().__init__(status["message"])
        self.status = status
        self.code: int = status["code"]
        causes = status.get("details", {}).get("causes", [])
        self.causes: list[tuple[str, str]] = [(cause.get("field", ""), cause["message"]) for cause in causes]
        """Each field that the server names, and what it says of it."""


class Api:
    """The API server as one user sees it."""

    def __init__(self, kubeconfig: Path) -> None:
        self._http = connect(kubeconfig)
        self.warnings: list[str] = []
        """The Warning headers of the last answer."""

    def create(self, obj: Object, *, dry_run: bool = False, validation: str = "Strict") -> Object:
        """POST."""
        return self._send("POST", path(obj, collection=True), obj, dry_run=dry_run, validation=validation)

    def replace(self, obj: Object, subresource: str = "", *, dry_run: bool = False) -> Object:
        """PUT; needs metadata.resourceVersion."""
        return self._send("PUT", path(obj, subresource), obj, dry_run=dry_run)

    def apply(self, obj: Object, manager: str, subresource: str = "", *, force: bool = False) -> Object:
        """Server-side apply."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        return self._send("PATCH", path(obj, subresource), obj, "application/apply-patch+yaml", query)

    def get(self, obj: Object) -> Object:
        """GET of the object that has the same kind, namespace and name."""
        return self._send("GET", path(obj))

    def list(self, obj: Object, **query: str) -> list[Object]:
        """Objects of the same kind and namespace."""
        items: list[Object] = self._send("GET", path(obj, collection=True), query=query)["items"]
        return items

    def delete(self, obj: Object) -> None:
        """DELETE."""
        self._send("DELETE", path(obj))

    def _send(
        self,
        method: str,
        url: str,
        body: Object | None = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
        *,
        dry_run: bool = False,
        validation: str = "Strict",
    ) -> Object:
        parameters = {**(query or {})}
        if body is not None:
            parameters["fieldValidation"] = validation
        if dry_run:
            parameters["dryRun"] = "All"
        answer = self._http.request(
            method,
            url,
            params=parameters,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
        )
        self.warnings = answer.headers.get_list("Warning")
        result: Object = answer.json()
        if answer.is_error:
            raise RefusedError(result)
        return result


def path(obj: Object, subresource: str = "", *, collection: bool = False) -> str:
    """The URL path of an object, of a subresource of it, or of the collection that it is in."""
    if obj["apiVersion"] == API_VERSION:
        group, plural = f"/apis/{API_VERSION}", PLURALS[obj["kind"]]
    else:
        group, plural = f"/api/{obj['apiVersion']}", f"{obj['kind'].lower()}s"
    namespace = obj["metadata"].get("namespace")
    parts = [group, *(["namespaces", namespace] if namespace else []), plural]
    if not collection:
        parts += [obj["metadata"]["name"], *([subresource] if subresource else [])]
    return "/".join(parts)
