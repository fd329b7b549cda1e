"""Whatever a value holds, it stays inside of its scalar."""

from __future__ import annotations

from dsecos_operator.rendering.template import render as render_text
from dsecos_operator.rendering.text import parse
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_no_text_leaves_its_scalar(value: str) -> None:
    tree = parse(render_text('a: {{ v }}\nb: "{{ v | text }}"\nc: {{ [v] | tojson }}\n', {"v": value}))
    expected = value.replace("$", "$$")
    assert tree == {"a": expected, "b": expected, "c": [expected]}
