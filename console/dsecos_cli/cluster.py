"""The API server: reads, server-side apply, dry runs. The only module that speaks to it.

The official client gives the kubeconfig, authentication and transport. Requests go by path, so that one piece
of code serves every kind and objects stay as the server gives them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsecos_api import API_VERSION, KINDS

from dsecos_cli.errors import CliError, DeniedError, NotFoundError, RefusedError, UnreachableError
from dsecos_cli.resources import Object, Resource, resource_of
from dsecos_cli.settings import Settings

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

FIELD_MANAGER = "dsecos-cli"
UNDECLARED = "field not declared in schema"
"""What a server-side apply of an unknown field is answered with; its status is 500, although the object is
at fault.
"""

REQUEST_TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and to wait for an answer."""


class ConflictError(RefusedError):
    """Another writer owns a field that was to be set, or created the object meanwhile."""


class Cluster:
    """One API server, as one user. Every method raises CliError's subclasses only."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    @property
    def address(self) -> str:
        """URL of the API server."""
        return str(self._api.configuration.host)

    def version(self) -> str:
        """The API server's version, for example v1.36.3."""
        return str(self._request("GET", "/version").get("gitVersion", ""))

    def missing_kinds(self) -> tuple[str, ...]:
        """Kinds of dsecos.io that the API server does not serve."""
        try:
            served = {entry["kind"] for entry in self._request("GET", f"/apis/{API_VERSION}")["resources"]}
        except NotFoundError:
            served = set()
        return tuple(kind.__name__ for kind in KINDS if kind.__name__ not in served)

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """One object. Raises NotFoundError."""
        return self._request("GET", resource.path(namespace, name))

    def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """One object, or None."""
        try:
            return self.get(resource, name, namespace)
        except NotFoundError:
            return None

    def list(self, resource: Resource, namespace: str | None = None, *, fields: str = "") -> list[Object]:
        """All objects of a namespace, or of all; `fields` is a field selector."""
        answer = self._request("GET", resource.path(namespace), {"fieldSelector": fields} if fields else {})
        items: list[Object] = answer["items"]
        return items

    def apply(
        self, obj: Object, *, manager: str = FIELD_MANAGER, force: bool = False, dry_run: bool = False
    ) -> Object:
        """Server-side apply.

        Raises ConflictError when another manager owns a field and `force` is not given.
        """
        query = {"fieldManager": manager, "force": json.dumps(force), "fieldValidation": "Strict"}
        path = resource_of(obj).path(obj["metadata"].get("namespace"), obj["metadata"]["name"])
        return self._request("PATCH", path, _dry(query, dry_run), obj, "application/apply-patch+yaml")

    def create(self, obj: Object) -> Object:
        """Create. Raises ConflictError when it exists."""
        path = resource_of(obj).path(obj["metadata"].get("namespace"))
        return self._request("POST", path, {"fieldManager": FIELD_MANAGER}, obj)

    def merge_patch(self, live: Object, patch: Mapping[str, Any], *, dry_run: bool = False) -> Object:
        """JSON merge patch (RFC 7386) of an object that was read before."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        path = resource_of(live).path(live["metadata"].get("namespace"), live["metadata"]["name"])
        return self._request("PATCH", path, _dry(query, dry_run), patch, "application/merge-patch+json")

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        import urllib3  # noqa: PLC0415 - comes with the client, which is loaded late

        headers = {"Accept": "application/json"} | (
            {"Content-Type": content_type} if body is not None else {}
        )
        request = self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=REQUEST_TIMEOUT)
            raw: bytes = response.read()  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(self.address, error) from error
        answer = _decode(raw)
        if not 200 <= response.status <= 299:
            raise error_of(response.status, answer)
        return answer


def connect(settings: Settings, kubeconfig: Path | None = None) -> Cluster:
    """Read the kubeconfig; nothing is sent yet. A server that is busy (429, not acted on) is asked again.

    In this order: `--kubeconfig`, $KUBECONFIG, the embedded control plane's, ~/.kube/config. Raises
    UnreachableError.
    """
    import urllib3  # noqa: PLC0415 - comes with the client
    from kubernetes import config  # noqa: PLC0415 - takes a second to load; most errors and all help need it not
    from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415

    logging.getLogger("urllib3").setLevel(logging.ERROR)
    file = _kubeconfig(settings, kubeconfig)
    configuration = Configuration()
    configuration.retries = urllib3.Retry(
        5, connect=0, read=0, status_forcelist=(429,), allowed_methods=None, raise_on_status=False
    )
    try:
        config.load_kube_config(config_file=file, client_configuration=configuration)  # type: ignore[no-untyped-call]
        _, active = config.list_kube_config_contexts(config_file=file)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, ValueError) as error:
        raise UnreachableError(f"no usable kubeconfig: {_first_line(error)}", _KUBECONFIG_HINT) from error
    namespace = (active or {}).get("context", {}).get("namespace") or "default"
    return Cluster(ApiClient(configuration=configuration), namespace)


_KUBECONFIG_HINT = (
    "Start a control plane with `make up`, name one with --kubeconfig or KUBECONFIG, or ask `dsecos doctor`."
)


def _kubeconfig(settings: Settings, named: Path | None) -> str:
    if named is not None:
        return str(named)
    if os.environ.get("KUBECONFIG"):
        return os.environ["KUBECONFIG"]
    if settings.admin_kubeconfig.exists():
        if not os.access(settings.admin_kubeconfig, os.R_OK):
            raise UnreachableError(
                f"{settings.admin_kubeconfig} is readable by root only",
                "Run this as root, or set KUBECONFIG to a kubeconfig of your own.",
            )
        return str(settings.admin_kubeconfig)
    personal = Path.home() / ".kube" / "config"
    if not personal.exists():
        raise UnreachableError(
            f"no control plane here: neither {settings.admin_kubeconfig} nor {personal} exists",
            _KUBECONFIG_HINT,
        )
    return str(personal)


def _dry(query: dict[str, str], dry_run: bool) -> dict[str, str]:
    return query | ({"dryRun": "All"} if dry_run else {})


def _decode(raw: bytes) -> Object:
    try:
        answer = json.loads(raw)
    except ValueError:
        return {"message": raw[:200].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"message": str(answer)[:200]}


def unreachable(address: str, error: Exception) -> UnreachableError:
    """What to say when no answer came."""
    return UnreachableError(
        f"no answer from the API server {address}: {_why(error)}",
        "Is it running? `dsecos doctor` looks; `make up` starts the embedded one.",
    )


def error_of(status: int, answer: Mapping[str, Any]) -> CliError:
    """The error for an answer of the API server that is no success (meta/v1 Status)."""
    message = str(answer.get("message") or f"HTTP status {status}")
    details = answer.get("details") or {}
    causes = tuple((str(c.get("field", "")), str(c.get("message", ""))) for c in details.get("causes") or ())
    if status == 404:
        if details.get("name"):
            return NotFoundError(message, "`dsecos status -A` lists what there is.")
        return NotFoundError(
            "the API server does not know this kind",
            "Install the CRDs: `make up`, or kubectl apply -f crds/yaml.",
        )
    if status in (401, 403):
        return DeniedError(message, "Use a kubeconfig whose user may do this (--kubeconfig or KUBECONFIG).")
    if status == 409:
        return ConflictError(
            message, "Another writer was there before: look with `dsecos status`, then try again.", causes
        )
    if status in (400, 422) or UNDECLARED in message:
        head, invalid, _ = message.partition(" is invalid")
        return RefusedError(
            head + invalid if causes else message, "Correct what is named and try again.", causes
        )
    return UnreachableError(
        f"the API server answered {status}: {message}", "Try again; `dsecos doctor` looks further."
    )


def _why(error: Exception) -> str:
    """The innermost words: urllib3 wraps what the system said in the request, the pool and the retries."""
    return str(getattr(error, "reason", error)).rsplit(": ", maxsplit=1)[-1].rstrip("')")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
