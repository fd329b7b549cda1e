"""Write the CustomResourceDefinitions and the reference pages from the models, or check them.

`python -m dsecos_api.generate` writes `crds/yaml/` and `docs/api/` of the checkout that this package lies in;
`--check` writes nothing, prints a diff and ends with 1 if a file differs, is missing, or has no kind.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from dsecos_api import GROUP, KINDS, VERSION, KubeObject
from dsecos_api.base import PrinterColumn
from dsecos_api.reference import NOTICE, reference
from dsecos_api.structural import RULES, Schema, structural

CHECKOUT = Path(__file__).resolve().parents[2]

HEADER = f"# {NOTICE}\n"

API_VERSION_TEXT = (
    "Version of the schema of this object, as group/version. More:"
    " https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
KIND_TEXT = (
    "Kind of this object. More:"
    " https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)


def root_schema(kind: type[KubeObject]) -> Schema:
    """The schema of a whole object. Of metadata it says nothing: that is the API server's."""
    properties: dict[str, Schema] = {
        "apiVersion": {"description": API_VERSION_TEXT, "type": "string"},
        "kind": {"description": KIND_TEXT, "type": "string"},
        "metadata": {"type": "object"},
        "spec": structural(kind.part("spec")),
        "status": structural(kind.part("status")),
    }
    schema: Schema = {"description": kind.info.description, "type": "object"}
    if kind.info.name_rules:
        schema[RULES] = [dict(entry) for entry in kind.info.name_rules]
    return {**schema, "required": ["spec"], "properties": properties}


def definition(kind: type[KubeObject]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind (apiextensions.k8s.io/v1)."""
    info = kind.info
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root_schema(kind)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in info.columns],
    }
    if info.selectable_fields:
        version["selectableFields"] = [{"jsonPath": path} for path in info.selectable_fields]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.__name__,
                "listKind": f"{kind.__name__}List",
                "plural": info.plural,
                "singular": info.singular,
                "shortNames": list(info.short_names),
                "categories": list(info.categories),
            },
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _column(column: PrinterColumn) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        entry["description"] = column.description
    if column.priority:
        entry["priority"] = column.priority
    return entry


def files() -> dict[Path, str]:
    """Every generated file, by its path within the checkout."""
    made = {}
    for kind in KINDS:
        text = yaml.safe_dump(definition(kind), sort_keys=False, width=110, allow_unicode=True)
        made[Path(f"crds/yaml/{GROUP}_{kind.info.plural}.yaml")] = HEADER + text
        made[Path(f"docs/api/{kind.info.singular}.md")] = reference(kind)
    return made


def generated(root: Path, folders: Collection[Path]) -> dict[Path, str]:
    """The generated files that lie in folders below `root`; those of people beside them are left alone."""
    texts = {path: path.read_text() for folder in folders for path in (root / folder).glob("*.*")}
    return {path.relative_to(root): text for path, text in texts.items() if NOTICE in text.partition("\n")[0]}


def differences(root: Path) -> Iterator[str]:
    """Unified diffs from what lies below `root` to what should; nothing where all is current."""
    wanted = files()
    present = generated(root, {path.parent for path in wanted})
    for path in sorted(wanted.keys() | present.keys()):
        before, after = present.get(path, ""), wanted.get(path, "")
        yield from difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"{path} (now)",
            f"{path} (generated)",
        )


def write(root: Path) -> None:
    """Write every generated file below `root` and remove those that have no kind any more."""
    wanted = files()
    for path in generated(root, {path.parent for path in wanted}).keys() - wanted.keys():
        (root / path).unlink()
    for path, text in wanted.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dsecos_api.generate", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; print what differs and end with 1"
    )
    parser.add_argument("--root", type=Path, default=CHECKOUT, help="checkout to write to (%(default)s)")
    options = parser.parse_args(argv)
    if not options.check:
        write(options.root)
        return 0
    diff = "".join(differences(options.root))
    sys.stdout.write(diff)
    return 1 if diff else 0


if __name__ == "__main__":
    sys.exit(main())
