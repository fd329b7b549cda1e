"""Where packages come from: the machine's own apt configuration, in both of its formats."""

from pathlib import Path

import pytest
from dsecos_images.sources import (
    NoDebianSourceError,
    Source,
    configured,
    host_codename,
    parse_deb822,
    parse_one_line,
    retarget,
)

BOOKWORM_ONE_LINE = """\
# a comment
deb http://mirror.example/debian bookworm main contrib # trailing words
deb [signed-by=/usr/share/keyrings/x.gpg arch=amd64] http://mirror.example/debian bookworm-updates main
deb-src http://mirror.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb https://other.example/apt stable vendor
"""

TRIXIE_DEB822 = """\
Types: deb deb-src
# URIs: http://unused.example
URIs: http://mirror.example/debian
Suites: trixie
  trixie-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: trixie-security
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: trixie
Components: main
"""


def test_one_line_sources_are_read_with_options_and_comments() -> None:
    assert list(parse_one_line(BOOKWORM_ONE_LINE)) == [
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib")),
        Source("http://mirror.example/debian", "bookworm-updates", ("main",)),
        Source("http://security.example/debian-security", "bookworm-security", ("main",)),
        Source("https://other.example/apt", "stable", ("vendor",)),
    ]


def test_deb822_sources_are_read_and_disabled_or_source_only_stanzas_are_not() -> None:
    assert list(parse_deb822(TRIXIE_DEB822)) == [
        Source("http://mirror.example/debian", "trixie", ("main", "non-free-firmware")),
        Source("http://mirror.example/debian", "trixie-updates", ("main", "non-free-firmware")),
        Source("http://security.example/debian-security", "trixie-security", ("main",)),
    ]


def test_a_machine_with_both_formats_has_the_sources_of_both(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian trixie main\n")
    (tmp_path / "sources.list.d" / "a.sources").write_text(TRIXIE_DEB822)
    (tmp_path / "sources.list.d" / "b.list").write_text("deb http://two.example/debian trixie main\n")
    (tmp_path / "sources.list.d" / "c.list.disabled").write_text(
        "deb http://three.example/debian trixie main\n"
    )

    found = [source.uri for source in configured(tmp_path) if source.suite == "trixie"]

    assert found == ["http://one.example/debian", "http://two.example/debian", "http://mirror.example/debian"]


def test_a_bookworm_machine_builds_trixie_from_its_own_mirror() -> None:
    assert retarget(list(parse_one_line(BOOKWORM_ONE_LINE)), "bookworm", "trixie") == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://security.example/debian-security trixie-security main",
    ]


def test_a_trixie_machine_builds_trixie() -> None:
    lines = retarget(list(parse_deb822(TRIXIE_DEB822)), "trixie", "trixie")
    assert lines[0] == "deb http://mirror.example/debian trixie main"
    assert len(lines) == 3


def test_a_release_may_be_called_by_its_role() -> None:
    sources = [Source("http://mirror.example/debian", "stable", ("main",))]
    assert retarget(sources, "trixie", "trixie") == ["deb http://mirror.example/debian trixie main"]


def test_a_source_named_twice_is_used_once() -> None:
    sources = [Source("http://mirror.example/debian", "trixie", ("main",))] * 2
    assert len(retarget(sources, "trixie", "trixie")) == 1


def test_without_a_debian_source_the_error_says_what_to_add() -> None:
    vendor = [Source("https://other.example/apt", "bookworm", ("vendor",))]
    with pytest.raises(NoDebianSourceError, match="'bookworm', component main"):
        retarget(vendor, "bookworm", "trixie")


@pytest.mark.parametrize(
    ("text", "codename"),
    [
        ('NAME="Debian"\nVERSION_CODENAME=trixie\n', "trixie"),
        ('VERSION_CODENAME="bookworm"\n', "bookworm"),
        ("", ""),
    ],
)
def test_the_release_is_read_from_os_release(text: str, codename: str) -> None:
    assert host_codename(text) == codename
