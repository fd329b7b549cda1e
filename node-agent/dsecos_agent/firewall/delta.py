"""From one rendered policy to another by elements alone, where the rules are the same. Pure.

A guest that comes, goes or exposes a port changes sets and maps and no rule. One transaction of elements
costs the kernel nothing for those that stay, and leaves no moment between two rule sets either.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

MOST = 2000
"""Elements: beyond that the whole is as quick."""

BEGIN = "        elements = {"
END = "        }"

Place = tuple[str, str]
"""Family of the table, and name of a set, a map or a counter in it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A rendered policy, taken apart."""

    rules: tuple[str, ...]
    """All lines that are no element and no counter."""
    elements: dict[Place, set[str]] = field(default_factory=dict)
    counters: set[Place] = field(default_factory=set)


def parts(text: str) -> Parts:
    """Take apart what `render` made."""
    rules: list[str] = []
    found = Parts(())
    family = name = ""
    inside = False
    for line in text.splitlines():
        words = line.split()
        if inside:
            inside = line != END
            if inside:
                found.elements[family, name].add(line.strip().removesuffix(","))
        elif line == BEGIN:
            inside = True
        elif words[:1] == ["counter"] and line.endswith("}"):
            found.counters.add((family, words[1]))
        else:
            rules.append(line)
            if words[:1] == ["table"]:
                family = words[1]
            elif words[:1] in (["set"], ["map"]) and line.endswith("{"):
                name = words[1]
                found.elements[family, name] = set()
    return Parts(tuple(rules), found.elements, found.counters)


def delta(before: str, after: str, instance: str) -> str | None:
    """What leads from one text to the other, for nft; None: only the whole does."""
    if before == after:
        return ""
    old, new = parts(before), parts(after)
    if old.rules != new.rules:
        return None
    lines = [*_counters("add", new.counters - old.counters, instance)]
    count = 0
    for verb, one, other in (("delete", old, new), ("add", new, old)):
        for (family, name), elements in sorted(one.elements.items()):
            changed = sorted(elements - other.elements[family, name])
            count += len(changed)
            if changed:
                # To delete an element its key is enough, and a key is all that is taken.
                keys = changed if verb == "add" else [each.partition(" : ")[0] for each in changed]
                lines.append(f"{verb} element {family} {instance} {name} {{ {', '.join(keys)} }}")
    lines += _counters("delete", old.counters - new.counters, instance)
    return None if count > MOST else "".join(f"{line}\n" for line in lines)


def _counters(verb: str, counters: set[Place], instance: str) -> Iterator[str]:
    for family, name in sorted(counters):
        yield f"{verb} counter {family} {instance} {name}"
