"""How Proxmox VE writes things down: property strings, sizes, tags, descriptions; and our marks among them.

Whose a guest is, is written twice: in its tags, which every listing shows, and in its description, which also
says what we have given it. Both have to agree; a guest for which they do not is nobody's. Other people's tags
and words are kept.

Values come from users in the end, so nothing is written that would read back as something else: what holds a
separator, a quote or a control character raises UnsafeConfigError.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dsecos_agent.engines.errors import UnsafeConfigError

MIB = 2**20
GIB = 2**30

TAG = "dsecos"
UID_TAG = "dsecos-uid-"
GUEST_TAG = "dsecos-guest-"
TEMPLATE_TAG = "dsecos-template"
"""On a VM or container that guests are cloned from; a clone is born with it."""
MARK = "dsecos.io/"

KEY = re.compile(r"[a-z][a-z0-9_-]*")
VALUE = re.compile(r"[^\s,\"\\\x00-\x1f\x7f](?:[^,\"\\\x00-\x1f\x7f]*[^\s,\"\\\x00-\x1f\x7f])?")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
DIGEST = re.compile(r"[0-9a-f]{1,64}")
DEVICE = re.compile(r"[a-z]{1,8}[0-9]{1,3}")
OPTIONS = re.compile(r"[a-z]+( [a-z]+)*")
FORMER = re.compile(r"(onboot|startup)=([^\s]{1,200})")
"""An option as it was before a guest was adopted."""
GIVEN = re.compile(rf"({DEVICE.pattern})=([a-z0-9-]{{1,63}})(?::([0-9]{{1,12}}))?")
"""A device that we have given a guest: mp0=data:8192, net0=eth0."""
SIZE = re.compile(r"(\d+)(?:\.(\d+))?([KMGT]?)")
UNITS = {"": 1, "K": 2**10, "M": MIB, "G": GIB, "T": 2**40}

DESCRIPTION_LIMIT = 8192
"""Characters that a description may have (schema of the API)."""


def checked(what: str, value: str, pattern: re.Pattern[str]) -> str:
    """The value, if all of it fits. Raises UnsafeConfigError."""
    if not pattern.fullmatch(value):
        raise UnsafeConfigError(f"{what} {value!r} has characters that Proxmox VE would read otherwise")
    return value


# Property strings: key=value,key=value, where one key of each format may be left out.


def parse(text: str, default_key: str = "") -> dict[str, str]:
    """The properties of a string such as `local:8,size=8G`; a bare first value is that of `default_key`."""
    found = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = part.partition("=")
        found.update({key: value} if equals else {default_key: part})
    return found


def render(properties: Mapping[str, str], default_key: str = "") -> str:
    """The string that `parse` reads back as the same properties, in their order, the default key's first.

    Raises UnsafeConfigError.
    """
    parts = []
    for key, value in sorted(properties.items(), key=lambda item: item[0] != default_key):
        checked(f"value of {key or 'a property'}", value, VALUE)
        if key == default_key:
            if "=" in value:
                raise UnsafeConfigError(f"{value!r} would be read as a property of its own")
            parts.append(value)
        else:
            parts.append(f"{checked('property', key, KEY)}={value}")
    return ",".join(parts)


def is_true(value: object) -> bool:
    """A boolean as Proxmox VE tells it: 1, "1", "on", "yes", "true"."""
    return str(value).lower() in {"1", "on", "yes", "true"}


def parse_size(text: str) -> int:
    """Bytes of a size such as 8G, 8192M, 1.5T or 0T (no limit). Raises ValueError."""
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size of Proxmox VE")
    whole, fraction, unit = found.groups()
    digits = fraction or ""
    return int(whole + digits) * UNITS[unit] // int("1" + "0" * len(digits))


def mebibytes(size: int) -> int:
    """Whole MiB that hold so many bytes."""
    return -(-size // MIB)


def gibibytes(size: int) -> str:
    """GiB that hold so many bytes, to a MiB, as a new disk is asked for: 8, or 1.5. At least one MiB."""
    whole, rest = divmod(max(1, mebibytes(size)), 1024)
    return f"{whole}" if not rest else f"{whole}.{rest * 10**10 // 1024:010}".rstrip("0")


# Tags and description.


@dataclass(frozen=True, slots=True)
class Ownership:
    """Which of our guests it is, and the UID of the object that it was made for."""

    guest: str
    owner_uid: str


@dataclass(frozen=True, slots=True)
class Marks:
    """What we write into a description."""

    guest: str = ""
    owner_uid: str = ""
    config: str = ""
    """Digest of the configuration that we have written last."""
    boot: str = ""
    """Of the configuration that its present life was started with."""
    devices: Mapping[str, str] = field(default_factory=dict)
    """Device (mp0, net0) -> our name for it: those that we have given it, and nobody else."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Device -> MiB that we have asked for; it may have got more."""
    adopted: tuple[str, ...] = ()
    """It was there before us and was taken over: the options that are ours since then. Else empty."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Options of an adopted guest as they were, for the day that it is released."""

    @property
    def ownership(self) -> Ownership | None:
        """Whose the description says that it is; None when it does not say both."""
        return Ownership(self.guest, self.owner_uid) if self.guest and self.owner_uid else None


def parse_tags(text: str) -> tuple[str, ...]:
    """Tags as listed (`;`, `,` or blanks between them), sorted, each once."""
    return tuple(sorted(set(_tags(text))))


def _tags(text: str) -> list[str]:
    return [tag for tag in re.split(r"[;,\s]+", text or "") if tag]


def render_tags(current: str, ownership: Ownership) -> str:
    """Other people's tags, in their order, and ours behind them. Raises UnsafeConfigError."""
    ours = [
        TAG,
        GUEST_TAG + checked("name", ownership.guest, NAME),
        UID_TAG + checked("owner", ownership.owner_uid, UID).lower(),
    ]
    return ";".join([*_foreign_tags(current), *ours])


def _is_mark(tag: str) -> bool:
    return tag in {TAG, TEMPLATE_TAG} or tag.startswith((UID_TAG, GUEST_TAG))


def _foreign_tags(text: str) -> Iterable[str]:
    return dict.fromkeys(tag for tag in _tags(text) if not _is_mark(tag))


def is_marked(tags: str, description: str) -> bool:
    """Whether anything of it is a mark of ours, were it only half of one."""
    return any(map(_is_mark, parse_tags(tags))) or bool(_mark_lines(description))


def without_marks(tags: str, description: str) -> tuple[str, str]:
    """Tags and description as they were before we came: for a guest that is released."""
    return ";".join(_foreign_tags(tags)), _words(description)


def parse_description(text: str) -> Marks:
    """Our marks. One that is there twice with two values counts as damaged, that is, as not there."""
    found: dict[str, set[str]] = {}
    for line in _mark_lines(text):
        key, _, value = line.removeprefix(MARK).partition(": ")
        found.setdefault(key, set()).add(value.strip())
    only = {key: next(iter(values)) for key, values in found.items() if len(values) == 1}

    def one(key: str, pattern: re.Pattern[str]) -> str:
        value = only.get(key, "")
        return value if pattern.fullmatch(value) else ""

    return Marks(
        guest=one("guest", NAME),
        owner_uid=one("owner-uid", UID),
        config=one("config", DIGEST),
        boot=one("boot", DIGEST),
        devices={device: name for device, (name, _) in _devices(only.get("devices", "")).items()},
        sizes={device: int(size) for device, (_, size) in _devices(only.get("devices", "")).items() if size},
        adopted=tuple(one("adopted", OPTIONS).split()),
        before={
            match[1]: match[2] for word in only.get("before", "").split() if (match := FORMER.fullmatch(word))
        },
    )


def _devices(text: str) -> dict[str, tuple[str, str]]:
    found = (GIVEN.fullmatch(word) for word in text.split())
    return {match[1]: (match[2], match[3] or "") for match in found if match}


def render_description(current: str, marks: Marks) -> str:
    """Other people's words and our marks below them. Raises UnsafeConfigError."""
    lines = {
        "guest": checked("name", marks.guest, NAME),
        "owner-uid": checked("owner", marks.owner_uid, UID),
    }
    if marks.config:
        lines["config"] = checked("digest", marks.config, DIGEST)
    if marks.boot:
        lines["boot"] = checked("digest", marks.boot, DIGEST)
    if marks.devices:
        words = (
            f"{device}={name}" + (f":{marks.sizes[device]}" if device in marks.sizes else "")
            for device, name in sorted(marks.devices.items())
        )
        lines["devices"] = " ".join(checked("device", word, GIVEN) for word in words)
    if marks.adopted:
        lines["adopted"] = checked("options", " ".join(marks.adopted), OPTIONS)
    if marks.before:
        words = (f"{option}={value}" for option, value in sorted(marks.before.items()))
        lines["before"] = " ".join(checked("option", word, FORMER) for word in words)
    ours = "".join(f"{MARK}{key}: {value}\n" for key, value in lines.items())
    theirs = _words(current)
    text = f"{theirs}\n\n{ours}" if theirs else ours
    if len(text) > DESCRIPTION_LIMIT:
        raise UnsafeConfigError(
            f"the description of guest {marks.guest} has no room for our marks: shorten what others wrote"
        )
    return text


def _mark_lines(text: str) -> list[str]:
    return [line.strip() for line in _lines(text) if line.strip().startswith(MARK)]


def _words(text: str) -> str:
    return "\n".join(line for line in _lines(text) if not line.strip().startswith(MARK)).strip("\n")


def _lines(text: str) -> list[str]:
    # Not splitlines(): Proxmox VE ends a line with a line feed alone.
    return (text or "").replace("\r\n", "\n").split("\n")


def ownership_of(tags: str, description: str) -> Ownership | None:
    """Whose a guest is; None when it is nobody's, also when tags and description disagree."""
    claimed = parse_description(description).ownership
    if claimed is None:
        return None
    ours = {tag for tag in parse_tags(tags) if tag == TAG or tag.startswith((UID_TAG, GUEST_TAG))}
    wanted = {TAG, UID_TAG + claimed.owner_uid.lower(), GUEST_TAG + claimed.guest}
    return claimed if {tag.lower() for tag in ours} == wanted else None


def listed_ownership(tags: str) -> Ownership | None:
    """Whose a listing's tags say that a guest is. To be held against its description before it is touched.

    Proxmox VE may lower the case of tags, so the UID is in lower case here.
    """
    found = parse_tags(tags)
    guests = [tag.removeprefix(GUEST_TAG) for tag in found if tag.startswith(GUEST_TAG)]
    uids = [tag.removeprefix(UID_TAG).lower() for tag in found if tag.startswith(UID_TAG)]
    if TAG in found and len(guests) == 1 and len(uids) == 1:
        return Ownership(guests[0], uids[0])
    return None
