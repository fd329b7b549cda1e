"""Guest templates as they were built: one directory a template, described by its manifest.

    images/<name>/manifest.json      {"name", "digest", "files": {"rootfs.tar.zst": {...}, "docker.tar.zst":
    {...}}, ...}

`images/<name>` is a link that a new build exchanges; it is resolved once, so that manifest and archives
belong together.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dsecos_agent.storage.protocol import Archive, Template

MANIFEST = "manifest.json"


class _File(BaseModel):
    sha256: str


class _Manifest(BaseModel):
    name: str
    digest: str
    files: dict[str, _File]

    @property
    def names_its_files(self) -> bool:
        """The digest is that of the files' digests, as the build makes it."""
        text = json.dumps({name: file.sha256 for name, file in self.files.items()}, sort_keys=True)
        return self.digest == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Image:
    """A template that may be imported."""

    name: str
    template: Template


def read_images(folder: Path) -> list[Image]:
    """All templates below a directory, sorted by name; what cannot be read is passed over."""
    found = []
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        image = read_image(path.parent)
        if image is not None and not path.parent.name.startswith("."):
            found.append(image)
    return found


def read_image(folder: Path) -> Image | None:
    """One template; None when it cannot be read, lacks its root file system or has another's digest."""
    build = folder.resolve()
    try:
        manifest = _Manifest.model_validate_json((build / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None
    rootfs = _archive(manifest, build, "rootfs")
    if rootfs is None or not manifest.names_its_files:
        return None
    return Image(
        manifest.name,
        Template(manifest.digest.removeprefix("sha256:"), rootfs, _archive(manifest, build, "docker")),
    )


def _archive(manifest: _Manifest, build: Path, tree: str) -> Archive | None:
    names = [name for name in manifest.files if name.startswith(f"{tree}.tar") and "/" not in name]
    return Archive(build / names[0], manifest.files[names[0]].sha256) if names else None
