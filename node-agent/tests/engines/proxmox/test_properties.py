"""How Proxmox VE writes things down, and what of ours is among it."""

from __future__ import annotations

import pytest
from dsecos_agent.engines.errors import UnsafeConfigError
from dsecos_agent.engines.proxmox import properties
from dsecos_agent.engines.proxmox.properties import Marks, Ownership
from hypothesis import given
from hypothesis import strategies as st

WEB = Ownership("web-1a2b3c4d", "6f1c2d3e-0000-4000-8000-000000000001")
MARKS = Marks(WEB.guest, WEB.owner_uid, "c0ffee", "b007", {"net0": "eth0", "mp0": "data"}, {"mp0": 8192})

NAMES = st.from_regex(properties.NAME, fullmatch=True)
UIDS = st.from_regex(properties.UID, fullmatch=True)
DIGESTS = st.one_of(st.just(""), st.from_regex(properties.DIGEST, fullmatch=True))
DEVICES = st.builds("{}{}".format, st.sampled_from(["mp", "net"]), st.integers(0, 31))
HANDED = st.dictionaries(DEVICES, NAMES)


@st.composite
def marks(draw: st.DrawFn) -> Marks:
    devices = draw(HANDED)
    sizes = {device: draw(st.integers(0, 10**9)) for device in devices if draw(st.booleans())}
    return Marks(draw(NAMES), draw(UIDS), draw(DIGESTS), draw(DIGESTS), devices, sizes)


@pytest.mark.parametrize(
    ("text", "default_key", "found"),
    [
        ("", "volume", {}),
        ("local:8,size=8G", "volume", {"volume": "local:8", "size": "8G"}),
        ("size=8G,local:8", "volume", {"volume": "local:8", "size": "8G"}),
        ("name=eth0,hwaddr=BC:24:11:F6:E6:00", "", {"name": "eth0", "hwaddr": "BC:24:11:F6:E6:00"}),
        ("cputype=host,flags=+aes;-pcid", "cputype", {"cputype": "host", "flags": "+aes;-pcid"}),
        ("order=scsi0;net0", "legacy", {"order": "scsi0;net0"}),
    ],
)
def test_property_strings_are_read(text: str, default_key: str, found: dict[str, str]) -> None:
    assert properties.parse(text, default_key) == found


@given(
    st.dictionaries(
        st.from_regex(properties.KEY, fullmatch=True), st.from_regex(properties.VALUE, fullmatch=True)
    ),
    st.none() | st.from_regex(properties.VALUE, fullmatch=True).filter(lambda value: "=" not in value),
)
def test_what_is_written_is_read_back(named: dict[str, str], bare: str | None) -> None:
    whole = named if bare is None else {**named, "volume": bare}
    key = "" if bare is None else "volume"
    assert properties.parse(properties.render(whole, key), key) == whole


@given(st.text(), st.text())
def test_no_value_brings_in_another_property(value: str, other: str) -> None:
    try:
        text = properties.render({"mp": value, "ro": "1", "note": other})
    except UnsafeConfigError:
        return
    assert properties.parse(text) == {"mp": value, "ro": "1", "note": other}


@pytest.mark.parametrize(
    "wrong",
    [
        {"mp": "/data,ro=1"},
        {"mp": "/data\nrootfs: x"},
        {"mp": ' "/data"'},
        {"mp": ""},
        {"m p": "/data"},
        {"volume": "bridge=vmbr1"},
    ],
)
def test_what_would_be_read_otherwise_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UnsafeConfigError):
        properties.render(wrong, "volume")


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 * 2**30), ("8192M", 8 * 2**30), ("0T", 0), ("512", 512), ("1.5T", 3 * 2**39), ("4096K", 2**22)],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert properties.parse_size(text) == size


def test_what_is_no_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="no size"):
        properties.parse_size("big")


@given(st.integers(1, 2**50))
def test_a_new_disk_is_asked_for_to_a_mebibyte(size: int) -> None:
    asked = properties.parse_size(properties.gibibytes(size) + "G")
    assert size <= asked < size + 2**20


def test_marks_stand_below_the_words_of_others() -> None:
    text = properties.render_description("Ask Ann before you touch it.\n", MARKS)
    assert text == (
        "Ask Ann before you touch it.\n\n"
        "dsecos.io/guest: web-1a2b3c4d\n"
        "dsecos.io/owner-uid: 6f1c2d3e-0000-4000-8000-000000000001\n"
        "dsecos.io/config: c0ffee\n"
        "dsecos.io/boot: b007\n"
        "dsecos.io/devices: mp0=data:8192 net0=eth0\n"
    )


@given(st.text(max_size=500), marks())
def test_marks_survive_any_words_beside_them(words: str, ours: Marks) -> None:
    once = properties.render_description(words, ours)
    assert properties.parse_description(once) == ours
    assert properties.render_description(once, ours) == once


@given(st.text(max_size=500).filter(lambda text: "dsecos.io/" not in text and "\r" not in text), marks())
def test_released_words_are_as_they_were(words: str, ours: Marks) -> None:
    described = properties.render_description(words, ours)
    assert properties.without_marks("", described) == ("", words.strip("\n"))


@pytest.mark.parametrize(
    "wrong",
    [
        Marks("web\ndsecos.io/owner-uid: other", WEB.owner_uid),
        Marks("web", "uid\ndsecos.io/guest: other"),
        Marks("", WEB.owner_uid),
        Marks("web", "uid", config="x y"),
        Marks("web", "uid", devices={"mp0": "data mp1=root"}),
        Marks("web", "uid", devices={"rootfs": "data"}),
    ],
)
def test_nothing_brings_in_another_mark(wrong: Marks) -> None:
    with pytest.raises(UnsafeConfigError):
        properties.render_description("", wrong)


def test_a_mark_with_two_values_is_damaged() -> None:
    text = properties.render_description("", MARKS) + "dsecos.io/guest: another\n"
    assert properties.parse_description(text).ownership is None


def test_a_description_without_room_is_an_error() -> None:
    with pytest.raises(UnsafeConfigError, match="no room"):
        properties.render_description("x" * 8192, MARKS)


def test_tags_of_others_stay() -> None:
    assert properties.render_tags("prod, dsecos-uid-old;ann", WEB) == (
        "prod;ann;dsecos;dsecos-guest-web-1a2b3c4d;dsecos-uid-6f1c2d3e-0000-4000-8000-000000000001"
    )


@given(st.text(max_size=200), NAMES, UIDS)
def test_a_guest_is_whose_tags_and_description_say(words: str, guest: str, uid: str) -> None:
    owner = Ownership(guest, uid)
    tags = properties.render_tags("", owner)
    description = properties.render_description(words, Marks(guest, uid))
    assert properties.ownership_of(tags, description) == owner
    assert properties.listed_ownership(tags) == Ownership(guest, uid.lower())


@pytest.mark.parametrize(
    ("tags", "description"),
    [
        ("", properties.render_description("", MARKS)),
        (properties.render_tags("", WEB), ""),
        (properties.render_tags("", WEB), properties.render_description("", Marks(WEB.guest, "other"))),
        (properties.render_tags("", WEB), properties.render_description("", Marks("other", WEB.owner_uid))),
        (f"{properties.render_tags('', WEB)};dsecos-uid-other", properties.render_description("", MARKS)),
        (
            properties.render_tags("", WEB).replace("dsecos;", ""),
            properties.render_description("", MARKS),
        ),
        ("", "the dsecos.io/guest: web line\nis a word of Ann's"),
    ],
)
def test_a_guest_whose_tags_and_description_disagree_is_nobodys(tags: str, description: str) -> None:
    assert properties.ownership_of(tags, description) is None


def test_two_owners_in_a_listing_are_none() -> None:
    assert properties.listed_ownership("dsecos;dsecos-guest-a;dsecos-uid-1;dsecos-uid-2") is None
    assert properties.listed_ownership("prod") is None
