"""What is known of one kind: the newest version of each object, whatever the order in which versions arrive.

Versions arrive from a watch, from answers to our own writes, and from lists. A resourceVersion grows with
each change (Kubernetes 1.35 declares it comparable), so the newest wins and nothing goes back. What a
deletion leaves behind is a tombstone with its version, until a list says the same: everything in a list's
scope that is not in it, and not newer than it, does not exist.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from dsecos_runtime.resources import Key, Object, Resource

T = TypeVar("T")


class Change(NamedTuple, Generic[T]):
    """What became of one object. `old` None: new; `new` None: gone."""

    key: Key
    old: T | None
    new: T | None


@dataclass(slots=True)
class Entry(Generic[T]):
    """The newest version known of one object."""

    obj: T | None
    version: int
    labels: dict[str, str]
    applied: dict[tuple[str, str], bytes]
    """What each manager applied: fieldsV1 as JSON, by manager and subresource."""


class Store(Generic[T]):
    """The objects of one kind."""

    def __init__(self, resource: Resource[T]) -> None:
        self.resource = resource
        self._entries: dict[Key, Entry[T]] = {}
        self._by_label: dict[tuple[str, str], set[Key]] = {}
        self._tombstones: dict[Key, int] = {}
        self._floors: dict[str, int] = {}
        self.errors: dict[Key, str] = {}
        """Objects whose newest version does not fit the model, and why."""
        self.newest = 0
        """The newest version seen of any object."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> T | None:
        """The object; None if it does not exist or cannot be read."""
        entry = self._entries.get(key)
        return entry.obj if entry else None

    def entry(self, key: Key) -> Entry[T] | None:
        """All that is known of the object."""
        return self._entries.get(key)

    def keys(self, namespace: str = "", label: tuple[str, str] | None = None) -> list[Key]:
        """Sorted keys, of one namespace and one label's value if these are given."""
        found: Iterable[Key] = self._entries if label is None else self._by_label.get(label, ())
        return sorted(key for key in found if not namespace or key.namespace == namespace)

    def put(self, raw: Object) -> Change[T] | None:
        """Take in one version. None if it is not news."""
        key, version = Key.of(raw), int(raw["metadata"]["resourceVersion"])
        self.newest = max(self.newest, version)
        old = self._entries.get(key)
        if old is not None and old.version >= version:
            return None
        if old is None and version <= max(self._tombstones.get(key, 0), self._floor(key)):
            return None
        entry = self._decode(key, raw, version)
        if key in self.errors and old is not None:
            entry.obj = old.obj  # the last that could be read: an unreadable object is not a deleted one
        self._index(key, old, entry)
        self._entries[key] = entry
        self._tombstones.pop(key, None)
        return Change(key, old.obj if old else None, entry.obj)

    def remove(self, raw: Object) -> Change[T] | None:
        """Take in a deletion, with the version that it happened at. None if it is not news."""
        key, version = Key.of(raw), int(raw["metadata"]["resourceVersion"])
        self.newest = max(self.newest, version)
        self._tombstones[key] = max(version, self._tombstones.get(key, 0))
        entry = self._entries.get(key)
        if entry is None or entry.version > version:
            return None
        return self._drop(key)

    def replace(self, raws: Iterable[Object], version: int, namespace: str = "") -> list[Change[T]]:
        """Compare with a complete list of a namespace (or of all) at a version; ghosts go."""
        present = set()
        changes = []
        for raw in raws:
            present.add(Key.of(raw))
            change = self.put(raw)
            if change is not None:
                changes.append(change)
        for key in self.keys(namespace):
            if key not in present and self._entries[key].version <= version:
                changes.append(self._drop(key))
        self._floors[namespace] = max(version, self._floors.get(namespace, 0))
        self._tombstones = {key: at for key, at in self._tombstones.items() if at > self._floor(key)}
        return changes

    def _floor(self, key: Key) -> int:
        return max(self._floors.get("", 0), self._floors.get(key.namespace, 0))

    def _drop(self, key: Key) -> Change[T]:
        entry = self._entries.pop(key)
        self.errors.pop(key, None)
        self._index(key, entry, None)
        return Change(key, entry.obj, None)

    def _index(self, key: Key, old: Entry[T] | None, new: Entry[T] | None) -> None:
        before = set(old.labels.items()) if old else set()
        after = set(new.labels.items()) if new else set()
        for label in before - after:
            keys = self._by_label[label]
            keys.discard(key)
            if not keys:
                del self._by_label[label]
        for label in after - before:
            self._by_label.setdefault(label, set()).add(key)

    def _decode(self, key: Key, raw: Object, version: int) -> Entry[T]:
        metadata = dict(raw["metadata"])
        fields = applied_fields(metadata.pop("managedFields", None) or ())
        labels = metadata.get("labels") or {}
        obj = None
        self.errors.pop(key, None)
        try:
            obj = self.resource.decode({**raw, "metadata": metadata})
        except ValidationError as error:
            self.errors[key] = str(error)
        return Entry(obj, version, labels, fields)


def applied_fields(managed: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], bytes]:
    """What each manager applied, from metadata.managedFields. JSON text takes a tenth of the parsed form's
    memory.
    """
    return {
        (entry["manager"], entry.get("subresource", "")): json.dumps(
            entry["fieldsV1"], separators=(",", ":")
        ).encode()
        for entry in managed
        if entry.get("operation") == "Apply" and "fieldsV1" in entry
    }
