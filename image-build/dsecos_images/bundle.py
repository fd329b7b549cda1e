"""What a build delivers, and how it is laid out.

    DIR/debian-13-docker/manifest.json     this module's `Manifest`
    DIR/debian-13-docker/rootfs.tar.zst    the guest's root, ids as the guest sees them
    DIR/debian-13-docker/docker.tar.zst    a /var/lib/docker that holds the catalog's images, ids likewise
    DIR/bin/docker-compose                 the compose program of the template, for the host

`DIR/debian-13-docker` is a link to a folder named by digest and is exchanged in one step: who
resolves it once always sees files of one build. Extract with `tar --xattrs --xattrs-include='*'
--numeric-owner`: file capabilities and overlay2's marks are extended attributes.
"""

import hashlib
import json
import os
import shutil
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

MANIFEST = "manifest.json"
CHUNK = 1 << 20


class Model(BaseModel):
    """Base of the manifest: JSON in camelCase, nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class File(Model):
    """One file beside the manifest."""

    sha256: str
    size: int
    """Bytes."""


class Image(Model):
    """One image that the template's Docker directory holds."""

    reference: str
    """Full name, for example docker.io/library/node:20."""
    digest: str
    """As a registry calls it (sha256 of the manifest)."""
    id: str
    """As a Docker Engine calls it (sha256 of the configuration)."""


class Manifest(Model):
    """One guest template."""

    name: str
    digest: str
    """`sha256:` and 64 hexadecimal digits over the digests of all files: another digest, another template."""
    created: datetime
    architecture: str
    """As Debian calls it, for example amd64."""
    suite: str
    docker_version: str
    """Debian version of docker.io, for example 26.1.5+dfsg1-9."""
    compose_version: str
    images: tuple[Image, ...]
    files: dict[str, File]
    packages: dict[str, str]
    """Debian package -> version of everything in the root."""


def describe(path: Path) -> File:
    """Digest and size of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
    return File(sha256=digest.hexdigest(), size=path.stat().st_size)


def digest_of(files: dict[str, File]) -> str:
    """The template's digest, from those of its files."""
    text = json.dumps({name: file.sha256 for name, file in files.items()}, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """Read a template's manifest; raises FileNotFoundError or pydantic.ValidationError."""
    return Manifest.model_validate_json((folder / MANIFEST).read_bytes())


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the folder of its files."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(by_alias=True, indent=2) + "\n")


def publish(entry: Path, manifest: Manifest, compose: Path, output: Path) -> bool:
    """Bring a finished template to `output`; False if it was there already.

    Files are hard links where the file system allows, so a cached build costs no room twice.
    """
    output.mkdir(parents=True, exist_ok=True)
    link = output / manifest.name
    target = f".{manifest.name}.{manifest.digest.removeprefix('sha256:')[:16]}"
    program = output / "bin" / "docker-compose"
    if link.is_symlink() and link.readlink() == Path(target) and _same(program, compose):
        return False
    fresh = output / f"{target}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name in [*manifest.files, MANIFEST]:
        link_or_copy(entry / name, fresh / name)
    shutil.rmtree(output / target, ignore_errors=True)
    fresh.rename(output / target)
    program.parent.mkdir(exist_ok=True)
    link_or_copy(compose, program.with_suffix(".new"))
    program.with_suffix(".new").rename(program)
    new_link = output / f"{target}.link"
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(target)
    new_link.rename(link)
    for old in output.glob(f".{manifest.name}.*"):
        if old.name != target:
            shutil.rmtree(old)
    return True


def _same(program: Path, compose: Path) -> bool:
    return program.is_file() and program.stat().st_size == compose.stat().st_size


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link to `source`, or a copy on another file system; an older `target` gives way."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
