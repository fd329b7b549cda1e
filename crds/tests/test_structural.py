"""What pydantic writes becomes what the API server takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import pytest
from dsecos_api.base import ApiModel, rule, schema
from dsecos_api.structural import UnsupportedSchemaError, structural
from pydantic import ConfigDict, Field


class Colour(StrEnum):
    """A colour."""

    RED = "red"


class Inner(ApiModel):
    """What an inner part is."""

    model_config = ConfigDict(json_schema_extra=schema(rule("has(self.key)", "of the model")))

    key: str = Field(default="a", description="Key.")
    other: str = Field(default="b", description="Other.")


class Outer(ApiModel):
    """What it is,
    in two lines."""

    maybe: Inner | None = Field(
        default=None,
        description="Maybe.",
        json_schema_extra=schema(rule("true", "of the field"), effect="live"),
    )
    colour: Colour | None = Field(default=None, description="Colour.")
    pairs: list[Inner] = Field(
        default_factory=list, description="Pairs.", json_schema_extra=schema(list_map=("key",))
    )
    names: list[Annotated[str, Field(max_length=3)]] = Field(default_factory=list, description="Names.")
    free: dict[str, Any] = Field(
        default_factory=dict, description="Free.", json_schema_extra=schema(preserve_unknown=True)
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Labels.")


SCHEMA = structural(Outer)
FIELDS = SCHEMA["properties"]


def test_text_stands_on_one_line() -> None:
    assert SCHEMA["description"] == "What it is, in two lines."


def test_parts_stand_in_place_under_the_fields_own_description() -> None:
    assert FIELDS["maybe"]["type"] == "object"
    assert FIELDS["maybe"]["description"] == "Maybe."
    assert FIELDS["maybe"]["properties"]["key"] == {"description": "Key.", "type": "string"}


def test_rules_of_a_part_and_of_its_field_both_hold() -> None:
    messages = [entry["message"] for entry in FIELDS["maybe"]["x-kubernetes-validations"]]
    assert messages == ["of the model", "of the field"]


def test_an_enumeration_lists_its_values() -> None:
    assert FIELDS["colour"] == {"description": "Colour.", "type": "string", "enum": ["red"]}


def test_only_the_key_of_a_list_map_has_a_default() -> None:
    properties = FIELDS["pairs"]["items"]["properties"]
    assert properties["key"]["default"] == "a"
    assert "default" not in properties["other"]
    assert "default" not in FIELDS["maybe"]["properties"]["key"]


def test_a_list_that_says_nothing_is_replaced_as_a_whole() -> None:
    assert FIELDS["names"]["x-kubernetes-list-type"] == "atomic"
    assert FIELDS["names"]["items"] == {"type": "string", "maxLength": 3}


def test_free_form_and_typed_maps_stay_apart() -> None:
    assert FIELDS["free"] == {
        "description": "Free.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    assert FIELDS["labels"]["additionalProperties"] == {"type": "string"}


def test_effects_are_left_out_unless_asked_for() -> None:
    assert "effect" not in FIELDS["maybe"]
    assert structural(Outer, effects=True)["properties"]["maybe"]["effect"] == "live"


def test_what_has_no_structural_form_is_named() -> None:
    class Wrong(ApiModel):
        """Wrong."""

        either: tuple[int, str] = Field(description="Either.")

    with pytest.raises(UnsupportedSchemaError, match=r"Wrong\.either: prefixItems has no structural form"):
        structural(Wrong)
