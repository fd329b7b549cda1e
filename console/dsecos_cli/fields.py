"""What differs between two forms of an object, field by field, and what a change of each field does.

Facts about fields come from the kinds' models: the keys of list maps, and `effect`, which says what a change
does to a running application.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from dsecos_api.base import ApiModel
from pydantic import BaseModel
from pydantic.fields import FieldInfo

SERVER_FIELDS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Path = tuple[str, ...]


@dataclass(frozen=True)
class Absent:
    """The field is not there."""


ABSENT = Absent()


@dataclass(frozen=True)
class Change:
    """One field that differs. `effect` is empty where the model says nothing."""

    path: Path
    before: Any
    after: Any
    effect: str = ""

    @property
    def where(self) -> str:
        """The field as people write it: `spec.expose[3000/TCP].hostPort`."""
        text = ""
        for part in self.path:
            text += part if part.startswith("[") or not text else f".{part}"
        return text


@dataclass(frozen=True)
class FieldFacts:
    """What the model says about a field: its effect, and the keys by which entries of its list are told
    apart.
    """

    effect: str = ""
    keys: tuple[str, ...] = ()


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any], model: type[BaseModel] | None
) -> list[Change]:
    """What users see change, without what the server keeps for itself and without status."""
    found = _compare((), _visible(before), _visible(after), model)
    return [Change(c.path, c.before, c.after, facts(model, c.path).effect) for c in found]


def facts(model: type[BaseModel] | None, path: Path) -> FieldFacts:
    """Walk down the model along a path; the effect is that of the innermost field that has one."""
    effect = ""
    keys: tuple[str, ...] = ()
    current = model
    for part in path:
        if part.startswith("["):
            continue
        field = _field(current, part)
        if field is None:
            break
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        effect = str(extra.get("effect") or effect)
        names = extra.get("x-kubernetes-list-map-keys")
        keys = tuple(str(name) for name in names) if isinstance(names, list) else ()
        current = _model_in(field.annotation)
    return FieldFacts(effect, keys)


def _visible(obj: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in obj.get("metadata", {}).items() if key not in SERVER_FIELDS}
    annotations = {k: v for k, v in metadata.pop("annotations", {}).items() if k != LAST_APPLIED}
    if annotations:
        metadata["annotations"] = annotations
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": metadata}


def _compare(path: Path, before: Any, after: Any, model: type[BaseModel] | None) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in (*before, *(key for key in after if key not in before)):
            yield from _compare((*path, key), before.get(key, ABSENT), after.get(key, ABSENT), model)
        return
    keys = facts(model, path).keys
    if keys and isinstance(before, Sequence) and isinstance(after, Sequence):
        old, new = _by_key(before, keys), _by_key(after, keys)
        for name in (*old, *(name for name in new if name not in old)):
            yield from _compare((*path, f"[{name}]"), old.get(name, ABSENT), new.get(name, ABSENT), model)
        return
    yield Change(path, before, after)


def _by_key(entries: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    return {"/".join(str(entry.get(key, "")) for key in keys): entry for entry in entries}


def _field(model: type[BaseModel] | None, name: str) -> FieldInfo | None:
    if model is None:
        return None
    return next((f for key, f in model.model_fields.items() if name in (key, f.alias)), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside of `X | None`, `list[X]` or `Annotated[X, ...]`; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner)) is not None), None)
