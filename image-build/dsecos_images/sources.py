"""Where this machine gets Debian from: its own apt sources, retargeted to another suite.

The formats are those of sources.list(5): one line per source (`*.list`), and deb822 stanzas (`*.sources`).
Nothing here names a mirror; a machine that uses one builds from the same one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
RELEASE_PARTS = ("", "-updates", "-security")
"""Suites of one release, each perhaps with its own URI; backports and proposed updates are not used."""


class NoDebianSourceError(Exception):
    """The machine's apt configuration names no source of Debian's own release."""


@dataclass(frozen=True)
class Source:
    """One binary source: a URI, a suite and its components."""

    uri: str
    suite: str
    components: tuple[str, ...]


def parse_one_line(text: str) -> Iterator[Source]:
    """Sources of a `*.list` file; other lines (comments, deb-src) are passed over."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            yield Source(match[1], match[2], tuple(match[3].split()))


def parse_deb822(text: str) -> Iterator[Source]:
    """Sources of a `*.sources` file; disabled stanzas and those without binary packages are passed over."""
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields.setdefault(name, []).extend(line.split())
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.split()
        enabled = [word.lower() for word in fields.get("enabled", ["yes"])]
        if "deb" in fields.get("types", []) and not {"no", "false", "without", "off", "disable"}.intersection(
            enabled
        ):
            for uri in fields.get("uris", []):
                for suite in fields.get("suites", []):
                    yield Source(uri, suite, tuple(fields.get("components", [])))


def configured(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """All sources of this machine, in apt's order."""
    found: list[Source] = []
    parts = etc_apt / "sources.list.d"
    for path in [etc_apt / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        if path.is_file():
            parse = parse_deb822 if path.suffix == ".sources" else parse_one_line
            found.extend(parse(path.read_text()))
    return found


def host_codename(os_release: str) -> str:
    """VERSION_CODENAME of an os-release(5) text; empty if there is none."""
    match = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", os_release, re.MULTILINE)
    return match[1] if match else ""


def retarget(sources: list[Source], codename: str, suite: str) -> list[str]:
    """Lines for `suite` from the sources of release `codename`: main; updates and security if configured.

    The release may be called by its role (stable, oldstable). Raises NoDebianSourceError if it is missing.
    """
    lines: dict[str, None] = {}
    for part in RELEASE_PARTS:
        for source in sources:
            names = {f"{release}{part}" for release in (codename, "stable", "oldstable")}
            # Before Debian 11 the security suite was called <codename>/updates; it is not looked for.
            if source.suite in names and "main" in source.components:
                lines[f"deb {source.uri} {suite}{part} main"] = None
        if not lines:
            raise NoDebianSourceError(
                f"no apt source for Debian {codename!r}, component main: add one to /etc/apt/sources.list.d"
            )
    return list(lines)
