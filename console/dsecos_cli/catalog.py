"""The catalog: which templates there are, and what each proposes when a Stack does not say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dsecos_cli.errors import NotFoundError, UsageError
from dsecos_cli.settings import Settings

CHECKOUT_CATALOG = Path("manifests/catalog")


@dataclass(frozen=True)
class Entry:
    """One template of the catalog, as its template.yaml describes it."""

    name: str
    description: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    expose: tuple[Mapping[str, Any], ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    secrets: tuple[str, ...] = ()
    """Names of the secret values that its document uses."""


def find_catalog(settings: Settings, named: Path | None) -> Path:
    """The catalog's directory: `--catalog`, DSECOS_CATALOG, the home's, a checkout's.

    Raises NotFoundError.
    """
    chosen = named or settings.catalog
    candidates = [chosen] if chosen else [settings.home / "catalog", *_checkout_catalogs(Path.cwd())]
    found = next((path for path in candidates if path.is_dir()), None)
    if found is None:
        places = ", ".join(str(path) for path in candidates)
        raise NotFoundError(f"no catalog at {places}", "Name its directory with --catalog or DSECOS_CATALOG.")
    return found


def template_names(catalog: Path) -> list[str]:
    """The templates of a catalog, sorted."""
    return sorted(path.parent.name for path in catalog.glob("*/template.yaml"))


def load_entry(catalog: Path, name: str) -> Entry:
    """Read one template's description. Raises NotFoundError, UsageError where the file is wrong."""
    names = template_names(catalog)
    if name not in names:
        known = ", ".join(names) or "none"
        raise NotFoundError(f"the catalog has no template {name!r}", f"It has: {known}  ({catalog})")
    file = catalog / name / "template.yaml"
    try:
        raw = yaml.safe_load(file.read_text())
        return parse_entry(name, raw)
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error


def parse_entry(name: str, raw: Mapping[str, Any]) -> Entry:
    """A template's description from the content of template.yaml."""
    return Entry(
        name=name,
        description=str(raw.get("description", "")).strip(),
        resources=dict(raw.get("resources") or {}),
        expose=tuple(dict(entry) for entry in raw.get("expose") or ()),
        volumes=tuple(dict(entry) for entry in raw.get("volumes") or ()),
        secrets=tuple(str(entry["name"]) for entry in raw.get("secretValues") or ()),
    )


def _checkout_catalogs(start: Path) -> list[Path]:
    return [folder / CHECKOUT_CATALOG for folder in (start, *start.parents)]
