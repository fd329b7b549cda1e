"""The catalog: a folder for each template, with `compose.yaml.j2` and `values.schema.json`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsecos_api import Reason

from dsecos_operator.rendering.limits import MAX_CHARACTERS
from dsecos_operator.rendering.refused import Refused

TEMPLATE = "compose.yaml.j2"
SCHEMA = "values.schema.json"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Entry:
    """One template of the catalog, as text and schema."""

    name: str
    template: str
    schema: dict[str, Any]


def read(folder: Path, name: str) -> Entry:
    """Raises Refused: TemplateNotFound names what there is, TemplateBroken says which file cannot be used and
    why.
    """
    entry = folder / name
    if not _NAME.fullmatch(name) or not (entry / TEMPLATE).is_file():
        known = ", ".join(names(folder)) or f"nothing; DSECOS_CATALOG is {folder}"
        raise Refused(
            Reason.TEMPLATE_NOT_FOUND, f"spec.template.name: the catalog has no {name}; there is {known}"
        )
    try:
        schema = json.loads(_bounded(entry / SCHEMA))
    except (OSError, ValueError) as error:
        raise Refused(Reason.TEMPLATE_BROKEN, f"{name}/{SCHEMA}: {error}") from error
    if not isinstance(schema, dict):
        raise Refused(Reason.TEMPLATE_BROKEN, f"{name}/{SCHEMA}: must be an object")
    try:
        return Entry(name, _bounded(entry / TEMPLATE), schema)
    except (OSError, ValueError) as error:
        raise Refused(Reason.TEMPLATE_BROKEN, f"{name}/{TEMPLATE}: {error}") from error


def names(folder: Path) -> list[str]:
    """The templates that there are."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / TEMPLATE).is_file())


def _bounded(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(MAX_CHARACTERS + 1)
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"larger than {MAX_CHARACTERS} characters")
    return text
