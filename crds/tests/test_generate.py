"""The generated files are those of the models, and every kind keeps the conventions of the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_api import KINDS, KubeObject
from dsecos_api.generate import HEADER, definition, main
from dsecos_api.structural import Schema

EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def test_the_committed_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_check_shows_what_differs_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--root", str(tmp_path)])
    stacks = tmp_path / "crds/yaml/dsecos.io_stacks.yaml"
    stacks.write_text(stacks.read_text().replace("singular: stack", "singular: heap"))
    (tmp_path / "crds/yaml/dsecos.io_ghosts.yaml").write_text(f"{HEADER}kind: Ghost\n")
    (tmp_path / "docs/api/node.md").unlink()

    assert main(["--root", str(tmp_path), "--check"]) == 1

    shown = capsys.readouterr().out
    assert "-    singular: heap\n+    singular: stack" in shown
    assert "-kind: Ghost" in shown
    assert "+# Node" in shown
    assert "singular: heap" in stacks.read_text()


def test_writing_repairs_everything_and_leaves_files_of_people_alone(tmp_path: Path) -> None:
    main(["--root", str(tmp_path)])
    ours = tmp_path / "crds/yaml/dsecos.io_ghosts.yaml"
    theirs = tmp_path / "crds/yaml/kustomization.yaml"
    ours.write_text(f"{HEADER}kind: Ghost\n")
    theirs.write_text("resources: []\n")
    main(["--root", str(tmp_path)])
    assert main(["--root", str(tmp_path), "--check"]) == 0
    assert not ours.exists()
    assert theirs.read_text() == "resources: []\n"


@EVERY_KIND
def test_every_field_says_what_it_means(kind: type[KubeObject]) -> None:
    silent = [
        path
        for path, field in _schemas(_root(kind), kind.__name__)
        if not path.endswith(("[]", ".*", ".metadata")) and not field.get("description")
    ]
    assert silent == []


@EVERY_KIND
def test_every_description_is_a_sentence(kind: type[KubeObject]) -> None:
    texts = [field.get("description", "X.") for _, field in _schemas(_root(kind), "")]
    assert [text for text in texts if not re.match(r"[A-Z0-9a-z$].*[.a-z]$", text)] == []


HISTORIES = {"Guest.status.lifecycle.transitions"}
"""Lists whose entries have no key: they are written whole, by one writer."""


@EVERY_KIND
def test_lists_are_bounded_and_say_how_they_merge(kind: type[KubeObject]) -> None:
    for path, field in _schemas(_root(kind), kind.__name__):
        if field.get("type") == "array":
            assert "maxItems" in field, path
            assert field["x-kubernetes-list-type"] in ("map", "set", "atomic"), path
            if field["items"]["type"] == "object" and path not in HISTORIES:
                assert field["x-kubernetes-list-type"] == "map", path


@EVERY_KIND
def test_defaults_stand_only_on_keys_of_list_maps(kind: type[KubeObject]) -> None:
    for path, field in _schemas(_root(kind), kind.__name__):
        if "default" in field:
            parent = path.rsplit(".", 1)[0]
            owner = dict(_schemas(_root(kind), kind.__name__))[parent.removesuffix("[]")]
            assert path.rsplit(".", 1)[1] in owner["x-kubernetes-list-map-keys"], path


@EVERY_KIND
def test_every_kind_has_what_all_kinds_have(kind: type[KubeObject]) -> None:
    crd = definition(kind)
    (version,) = crd["spec"]["versions"]
    assert crd["spec"]["names"]["categories"] == ["dsecos"]
    assert crd["spec"]["names"]["shortNames"]
    assert version["subresources"] == {"status": {}}
    assert {"Ready", "Age"} <= {column["name"] for column in version["additionalPrinterColumns"]}
    spec, status = (version["schema"]["openAPIV3Schema"]["properties"][name] for name in ("spec", "status"))
    assert "paused" in spec["properties"]
    assert {"observedGeneration", "conditions"} <= status["properties"].keys()
    assert "required" not in status


def test_short_names_belong_to_one_kind_each() -> None:
    names = [
        name for kind in KINDS for name in (kind.info.plural, kind.info.singular, *kind.info.short_names)
    ]
    assert len(set(names)) == len(names)


def _root(kind: type[KubeObject]) -> Schema:
    schema: Schema = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _schemas(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from _schemas(field, f"{path}.{name}")
    if "items" in schema:
        yield from _schemas(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from _schemas(schema["additionalProperties"], f"{path}.*")
