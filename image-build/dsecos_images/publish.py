"""Bringing the built images to a registry."""

import base64
import json
import ssl
import tempfile
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from dsecos_images import build, oci
from dsecos_images.cache import Cache
from dsecos_images.progress import say, step


class NotBuiltError(Exception):
    """The cache lacks an image: `dsecos-images build` comes first."""


def push_images(cache: Cache, registry: str, ca: Path, username: str, password: str) -> int:
    """Push what the registry (https://host:port) lacks; returns how many images that were.

    Raises NotBuiltError, RegistryError, ToolError.
    """
    wanted = build.plan()
    host = urlsplit(registry).netloc
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    connection = HTTPSConnection(host, timeout=30, context=ssl.create_default_context(cafile=str(ca)))
    pushed = 0
    with cache.locked(), closing(connection), tempfile.TemporaryDirectory() as scratch:
        certificates, authfile = _for_skopeo(Path(scratch), ca, host, token)
        for image in wanted.images:
            folder = cache.entry("image", wanted.image_key(image)) / "dir"
            if image.image is None or not folder.is_dir():
                raise NotBuiltError(f"{image.name} is not in {cache.root}: run `dsecos-images build` first")
            reference = image.image.reference
            if oci.is_pushed(folder, reference, connection, f"Basic {token}"):
                say(f"  {reference} is in {host}")
                continue
            with step(f"{reference} to {host}"):
                oci.push(folder, reference, host, certificates=certificates, authfile=authfile)
            pushed += 1
    return pushed


def _for_skopeo(scratch: Path, ca: Path, host: str, token: str) -> tuple[Path, Path]:
    """What skopeo reads instead of arguments: a folder of authorities, and a file with the credentials."""
    certificates = scratch / "certificates"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes(ca.read_bytes())
    authfile = scratch / "auth.json"
    authfile.write_text(json.dumps({"auths": {host: {"auth": token}}}))
    return certificates, authfile
