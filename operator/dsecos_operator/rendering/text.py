"""From YAML text to a tree, for text that a stranger wrote.

What is checked here is what is loaded later: the tree, not the text, is handed on (as JSON), so two parsers
that read the same text differently cannot be played against each other. Before anything is built from it, the
text is measured: its size, its depth, and how large it grows once its aliases are expanded.

Plain scalars are read as Go's yaml.v3 reads them, which is what Docker Compose uses: `yes` and `22:22` are
text (in YAML 1.1 they would be a truth value and a number of seconds), `0644` is octal, dates are text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml
from dsecos_api import Reason
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from dsecos_operator.rendering.limits import MAX_CHARACTERS
from dsecos_operator.rendering.refused import Refused, shown

MAX_DEPTH = 50
MAX_EXPANDED_NODES = 50_000
MAX_EXPANDED_CHARACTERS = 1_048_576

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_CORE + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))


class _Loader(yaml.CSafeLoader):
    """The safe loader with the implicit types of yaml.v3."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own shape


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(?:0|[1-9][0-9_]*|0[0-7_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("merge", r"^<<$", ["<"]),
):
    _Loader.add_implicit_resolver(_CORE + _tag, re.compile(_pattern), _first)


def parse(text: str) -> dict[str, Any]:
    """The mapping that the text holds. Raises Refused (ComposeTooLarge, ComposeInvalid)."""
    if len(text) > MAX_CHARACTERS:
        raise Refused(
            Reason.COMPOSE_TOO_LARGE,
            f"the compose document has {len(text)} characters; at most {MAX_CHARACTERS} are read",
        )
    try:
        _measure_events(text)
        node = yaml.compose(text, Loader=_Loader)
        if not isinstance(node, MappingNode):
            raise _invalid("the document must be a mapping with `services`")
        _Measure().visit(node)
        loader = _Loader("")
        try:
            tree = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _invalid(_explain(error)) from error
    except (ValueError, RecursionError) as error:
        raise _invalid(shown(error)) from error
    if not isinstance(tree, dict):
        raise _invalid("the document must be a mapping with `services`")
    return tree


def _measure_events(text: str) -> None:
    """Refuse what is too deep or tagged, before anything recursive looks at it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _invalid(f"{_place(event.start_mark)}: nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _PLAIN_TAGS:
            raise _invalid(
                f"{_place(event.start_mark)}: the tag {shown(tag)} is not supported; use plain YAML"
            )


class _Measure:
    """The size of a node with its aliases expanded, without expanding them: each is measured once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int, int]] = {}
        self._open: set[int] = set()

    def visit(self, node: Node) -> tuple[int, int, int]:
        """Nodes, characters and depth. Raises Refused."""
        known = self._known.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            raise _invalid(f"{_place(node.start_mark)}: an alias contains itself")
        self._open.add(id(node))
        nodes, characters, depth = 1, 0, 0
        for child in self._children(node):
            more, longer, deeper = self.visit(child)
            nodes, characters, depth = nodes + more, characters + longer, max(depth, deeper)
        if isinstance(node, ScalarNode):
            characters += len(node.value)
        if nodes > MAX_EXPANDED_NODES or characters > MAX_EXPANDED_CHARACTERS or depth >= 2 * MAX_DEPTH:
            raise _invalid(
                f"{_place(node.start_mark)}: with its aliases it is larger than {MAX_EXPANDED_NODES} nodes,"
                f" {MAX_EXPANDED_CHARACTERS} characters or {2 * MAX_DEPTH} levels"
            )
        self._open.discard(id(node))
        self._known[id(node)] = (nodes, characters, depth + 1)
        return self._known[id(node)]

    def _children(self, node: Node) -> list[Node]:
        if isinstance(node, SequenceNode):
            return list(node.value)
        if not isinstance(node, MappingNode):
            return []
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.tag not in (_CORE + "str", _CORE + "merge"):
                text = key.value if isinstance(key, ScalarNode) else "a list or a mapping"
                raise _invalid(
                    f"{_place(key.start_mark)}: the key {shown(text)} is not text; put it in quotes"
                )
            if key.value in seen:
                raise _invalid(f"{_place(key.start_mark)}: the key {shown(key.value)} is there twice")
            seen.add(key.value)
        return [child for pair in node.value for child in pair]


def _invalid(message: str) -> Refused:
    return Refused(Reason.COMPOSE_INVALID, f"the compose document is not valid: {message}")


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _explain(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        context = f"{error.context}: " if error.context else ""
        return f"{_place(error.problem_mark)}: {context}{shown(error.problem)}"
    return shown(error)
