"""Pushing to a real registry: over TLS, with a password that is no argument, and only what it lacks."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dsecos_images import publish
from dsecos_images.cache import Cache
from dsecos_images.main import default_cache
from dsecos_images.oci import RegistryError
from dsecos_images.process import run

from tests.patience import Deadline

from .conftest import Built

PASSWORD = "a-password"
HTPASSWD = "writer:$2b$04$BpnoUmzU0ecCwCxKw0HuMOKpHCet3vMplm4Du8vEYHggX6UNzMPNi\n"
"""The user and the bcrypt of that password."""


@dataclass(frozen=True)
class Registry:
    """A registry on the loopback that asks for user `writer`."""

    url: str
    ca: Path


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    certificate, key = folder / "ca.crt", folder / "ca.key"
    run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", certificate),
        ]
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "tls": {"certificate": str(certificate), "key": str(key)}},
        "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.json").write_text(json.dumps(configuration))
    (folder / "htpasswd").write_text(HTPASSWD)
    process = subprocess.Popen(["docker-registry", "serve", folder / "config.json"])
    try:
        _until_it_listens(port)
        yield Registry(f"https://localhost:{port}", certificate)
    finally:
        process.terminate()
        process.wait()


def _until_it_listens(port: int) -> None:
    deadline = Deadline(30)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            assert not deadline.passed(), "the registry does not listen"
            time.sleep(0.02)


def inspected(registry: Registry, repository: str, tmp_path: Path) -> str:
    """The digest that the registry tells for an image."""
    (tmp_path / "ca.crt").write_bytes(registry.ca.read_bytes())
    host = registry.url.removeprefix("https://")
    command: list[str | Path] = ["skopeo", "inspect", "--cert-dir", tmp_path, "--creds", f"writer:{PASSWORD}"]
    told: str = json.loads(run([*command, f"docker://{host}/{repository}"]))["Digest"]
    return told


def test_images_are_pushed_once_and_byte_by_byte(built: Built, registry: Registry, tmp_path: Path) -> None:
    cache = Cache(default_cache())
    assert publish.push_images(cache, registry.url, registry.ca, "writer", PASSWORD) == len(
        built.manifest.images
    )
    assert publish.push_images(cache, registry.url, registry.ca, "writer", PASSWORD) == 0
    for image in built.manifest.images:
        assert inspected(registry, image.reference.removeprefix("docker.io/"), tmp_path) == image.digest


def test_a_wrong_password_is_told(built: Built, registry: Registry) -> None:
    with pytest.raises(RegistryError, match="HTTP 401 for library/node:20"):
        publish.push_images(Cache(default_cache()), registry.url, registry.ca, "writer", "wrong")


def test_a_registry_with_another_authority_is_not_trusted(built: Built, registry: Registry) -> None:
    system = Path("/etc/ssl/certs/ca-certificates.crt")
    with pytest.raises(RegistryError, match="certificate verify failed"):
        publish.push_images(Cache(default_cache()), registry.url, system, "writer", PASSWORD)


def test_without_a_build_there_is_nothing_to_push(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(publish.NotBuiltError, match="dsecos-images build"):
        publish.push_images(Cache(tmp_path / "empty"), registry.url, registry.ca, "writer", PASSWORD)
