"""OCI images from root file systems, by buildah(1), and their way to a registry, by skopeo(1).

An image is kept as a `dir:` folder of containers-transports(5): manifest and compressed layers, byte by byte
what a registry gets. So its digest is known before it is pushed, and one request tells what is there already.
"""

import hashlib
import json
import os
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from dsecos_images.process import run
from dsecos_images.recipe import ImageConfig

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


class RegistryError(Exception):
    """The registry refused, or could not be reached."""


def make_image(config: ImageConfig, rootfs: Path, image: Path, *, work: Path) -> None:
    """Make an image of one layer from a root tarball, as a `dir:` folder at `image`; raises ToolError."""
    env = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(work)}
    buildah: list[str | Path] = ["buildah", "--root", work / "storage", "--runroot", work / "storage-run"]
    container = run([*buildah, "from", "scratch"], env=env).strip()
    run([*buildah, "add", "--quiet", container, rootfs, "/"], env=env)
    run([*buildah, "config", *config_options(config), container], env=env)
    archive = work / "image.tar"
    run(
        [
            *buildah,
            "commit",
            "--quiet",
            "--format",
            "docker",
            container,
            f"docker-archive:{archive}:{config.reference}",
        ],
        env=env,
    )
    run([*buildah, "rm", container], env=env)
    run(
        ["skopeo", "copy", "--quiet", "--dest-compress", f"docker-archive:{archive}", f"dir:{image}"], env=env
    )
    archive.unlink()


def config_options(config: ImageConfig) -> list[str]:
    """The options of `buildah config` for an image's configuration."""
    options = ["--entrypoint", json.dumps(config.entrypoint), "--cmd", json.dumps(config.command)]
    for name, value in config.environment.items():
        options += ["--env", f"{name}={value}"]
    for port in config.ports:
        options += ["--port", port]
    for volume in config.volumes:
        options += ["--volume", volume]
    return [
        *options,
        "--stop-signal",
        config.stop_signal,
        "--label",
        "org.opencontainers.image.vendor=DsecOS",
    ]


def manifest_digest(image: Path) -> str:
    """What a registry calls this image: the digest of its manifest."""
    return "sha256:" + hashlib.sha256((image / "manifest.json").read_bytes()).hexdigest()


def image_id(image: Path) -> str:
    """What an engine calls this image: the digest of its configuration."""
    return str(json.loads((image / "manifest.json").read_text())["config"]["digest"])


def to_archive(image: Path, reference: str, archive: Path) -> None:
    """Write the image as an archive for `docker load`; raises ToolError."""
    run(["skopeo", "copy", "--quiet", f"dir:{image}", f"docker-archive:{archive}:{reference}"])


def split_reference(reference: str) -> tuple[str, str]:
    """Repository within its registry, and tag: docker.io/library/node:20 -> library/node, 20."""
    repository, _, tag = reference.partition("/")[2].rpartition(":")
    return repository, tag


def is_pushed(image: Path, reference: str, registry: HTTPSConnection, authorization: str) -> bool:
    """Whether the registry has exactly this image under its tag; raises RegistryError.

    Docker Registry HTTP API V2, `HEAD /v2/<name>/manifests/<reference>`.
    """
    repository, tag = split_reference(reference)
    headers = {"Accept": MANIFEST_TYPE, "Authorization": authorization}
    try:
        registry.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers=headers)
        answer = registry.getresponse()
        answer.read()
    except (OSError, HTTPException) as error:
        raise RegistryError(f"{registry.host}:{registry.port}: {error}") from error
    if answer.status == HTTPStatus.NOT_FOUND:
        return False
    if answer.status != HTTPStatus.OK:
        raise RegistryError(f"{registry.host}:{registry.port}: HTTP {answer.status} for {repository}:{tag}")
    return answer.headers["Docker-Content-Digest"] == manifest_digest(image)


def push(image: Path, reference: str, registry_host: str, *, certificates: Path, authfile: Path) -> None:
    """Push the image under its repository and tag to `registry_host` (host:port); raises ToolError.

    `certificates` is a folder with the authority as `*.crt` (containers-certs.d(5)), `authfile` as in
    containers-auth.json(5): credentials are never arguments of a process.
    """
    repository, tag = split_reference(reference)
    run(
        [
            *("skopeo", "copy", "--quiet", "--preserve-digests"),
            *("--dest-cert-dir", certificates, "--dest-authfile", authfile),
            *(f"dir:{image}", f"docker://{registry_host}/{repository}:{tag}"),
        ]
    )
