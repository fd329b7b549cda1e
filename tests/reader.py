"""Reads objects as the administrator does, by GET over one connection.

Waits ask ten times a second, and a kubectl takes a third of a second of a core.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx
from dsecos_api import API_VERSION, KINDS
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

Object = dict[str, Any]

OURS = {kind.info.singular: kind.info for kind in KINDS} | {kind.info.plural: kind.info for kind in KINDS}


def connect(kubeconfig: Path) -> httpx.Client:
    """A connection as the user whom a kubeconfig with a client certificate names."""
    config = Configuration()
    load_kube_config(str(kubeconfig), client_configuration=config)  # type: ignore[no-untyped-call]
    context = ssl.create_default_context(cafile=config.ssl_ca_cert)
    context.load_cert_chain(str(config.cert_file), config.key_file)
    return httpx.Client(base_url=config.host, verify=context, timeout=60)


class Reader:
    """Of the cluster that a kubeconfig names, which may be another one each time."""

    def __init__(self, kubeconfig: Path) -> None:
        """Nothing is read yet."""
        self._kubeconfig = kubeconfig
        self._read: tuple[int, int] | None = None
        self._http = httpx.Client()

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """One object; None when there is none. `namespace` is not looked at for a kind that has none."""
        answer = self._client().get(f"{path(kind, namespace)}/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found: Object = answer.raise_for_status().json()
        return found

    def find(self, kind: str, namespace: str = "", label: str = "") -> list[Object]:
        """All objects of a kind, in one namespace or everywhere."""
        query = {"labelSelector": label} if label else {}
        listed: Object = self._client().get(path(kind, namespace), params=query).raise_for_status().json()
        of_all = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
        return [of_all | each for each in listed["items"]]

    def _client(self) -> httpx.Client:
        stat = self._kubeconfig.stat()
        if self._read != (stat.st_ino, stat.st_mtime_ns):
            self._http.close()
            self._http = connect(self._kubeconfig)
            self._read = (stat.st_ino, stat.st_mtime_ns)
        return self._http


def path(kind: str, namespace: str = "") -> str:
    """The URL path of a kind's collection, by its singular or plural. Pure."""
    ours = OURS.get(kind)
    if ours is None:
        group, plural, namespaced = "/api/v1", f"{kind.removesuffix('s')}s", True
    else:
        group, plural, namespaced = f"/apis/{API_VERSION}", ours.plural, ours.namespaced
    place = f"/namespaces/{namespace}" if namespace and namespaced else ""
    return f"{group}{place}/{plural}"
