"""The documentation: every link leads somewhere, and every command that it names exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsecos_cli.main import VERBS

from console.tests.objects import CHECKOUT

PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and GitLab make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead(page: Path) -> Iterator[str]:
    """Links to files or headings of this checkout that are not there."""
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(dead(page)) == []


def test_every_page_is_in_the_index() -> None:
    docs = CHECKOUT / "docs"
    index = (docs / "README.md").read_text()
    assert [
        p.name for p in sorted(docs.glob("*.md")) if p.name != "README.md" and f"({p.name})" not in index
    ] == []
    records = (docs / "decisions" / "README.md").read_text()
    assert [p.name for p in sorted((docs / "decisions").glob("0*.md")) if f"({p.name})" not in records] == []


def test_the_page_of_the_command_names_every_verb_and_no_other() -> None:
    page = (CHECKOUT / "docs" / "cli.md").read_text()
    table = page.partition("## Conventions")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)", cell)}
    assert named == set(VERBS)


def test_every_dependency_has_its_line() -> None:
    record = (CHECKOUT / "docs" / "decisions" / "0001-dependencies.md").read_text().lower()
    parts = [*CHECKOUT.glob("*/pyproject.toml"), *CHECKOUT.glob("hack/*/pyproject.toml")]
    needed = {
        re.split(r"[=<>\[; ]", entry)[0]
        for part in parts
        for entry in tomllib.loads(part.read_text())["project"].get("dependencies", [])
        if not entry.startswith("dsecos-")
    }
    assert [name for name in sorted(needed) if name.lower() not in record] == []


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z]+)", page.read_text())}
    assert named - targets == set()
