"""Recipes: what a root file system is made of, as folders of data beside this module.

A recipe is a folder with `recipe.toml` (packages, and the image's configuration), `finish.sh` (run on the
bootstrapped root) and optionally `files/` (copied over it). Its key is a digest of all that goes in.
"""

import hashlib
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

RECIPES = Path(__file__).parent / "recipes"
FORMAT = "1"
"""Part of every key: raise it when the builder itself changes what comes out."""


class ImageConfig(BaseModel):
    """How a container of an image is started (OCI image specification, `config`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    """Full name with tag, for example docker.io/library/node:20."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"


class Recipe(BaseModel):
    """One root file system: a guest template's, or an OCI image's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: Path
    kind: Literal["guest", "oci"]
    suite: str
    """Debian suite, for example trixie."""
    variant: Literal["minbase", "extract"]
    """As in mmdebstrap(1): `minbase` is an installed system, `extract` only unpacked packages."""
    packages: tuple[str, ...]
    image: ImageConfig | None = None

    @property
    def files(self) -> Path:
        """The tree that is copied over the root; may be missing."""
        return self.folder / "files"

    @property
    def finish(self) -> Path:
        """The script that is run on the root last; its one argument is the root's path."""
        return self.folder / "finish.sh"


def load(name: str, recipes: Path = RECIPES) -> Recipe:
    """Read a recipe; raises FileNotFoundError, tomllib.TOMLDecodeError or pydantic.ValidationError."""
    folder = recipes / name
    return Recipe(name=name, folder=folder, **tomllib.loads((folder / "recipe.toml").read_text()))


def tree_digest(folder: Path) -> str:
    """The SHA-256 of a folder: paths, contents and execute bits, but no times and no owners."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            executable = bool(path.stat().st_mode & 0o100)
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder)}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()


def key(recipe: Recipe, architecture: str) -> str:
    """What identifies the result of a recipe: 32 hexadecimal digits."""
    return combine(FORMAT, architecture, recipe.name, tree_digest(recipe.folder))


def combine(*parts: str) -> str:
    """One key made of several, in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
