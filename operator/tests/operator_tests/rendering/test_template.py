"""A catalog template with values, through the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dsecos_api import Reason
from dsecos_operator.rendering import Policy, Refused, Renderer, Rendering, Request, catalog

pytestmark = pytest.mark.asyncio(loop_scope="session")

CATALOG = Path(__file__).parents[4] / "manifests" / "catalog"
OPEN: dict[str, Any] = {"type": "object"}


async def render(
    renderer: Renderer, template: str, schema: dict[str, Any] = OPEN, values: dict[str, Any] | None = None
) -> Rendering:
    entry = catalog.Entry("test", template, schema)
    return await renderer.render(
        Request(stack="acme/shop", zone="backend", policy=Policy(), entry=entry, values=values or {})
    )


async def refusal(renderer: Renderer, *args: Any, **more: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await render(renderer, *args, **more)
    return caught.value


@pytest.mark.parametrize("env", ["dev", "prod"])
async def test_the_catalogs_first_entry(renderer: Renderer, env: str) -> None:
    rendering = await renderer.render(
        Request(
            stack="acme/shop",
            zone="backend",
            policy=Policy(),
            secrets=("postgresPassword",),
            volumes=("pgdata",),
            entry=catalog.read(CATALOG, "node-postgres"),
            values={"env": env, "greeting": "Hello: ${postgresPassword} {{ 7 * 7 }} costs $5"},
        )
    )
    document = json.loads(rendering.document)
    assert rendering.services == ("db", "web")
    assert rendering.reaches(3000, "TCP")
    web, db = document["services"]["web"], document["services"]["db"]
    assert web["environment"]["GREETING"] == "Hello: $${postgresPassword} {{ 7 * 7 }} costs $$5"
    assert web["environment"]["PGPASSWORD"] == "${postgresPassword}"
    assert db["restart"] == ("always" if env == "prod" else "unless-stopped")
    assert document["volumes"]["pgdata"]["driver_opts"]["device"] == "/srv/volumes/pgdata"


async def test_defaults_of_the_schema_apply(renderer: Renderer) -> None:
    schema = {"type": "object", "properties": {"image": {"default": "node:20"}}}
    rendering = await render(renderer, "services: {web: {image: {{ image }}}}", schema)
    assert json.loads(rendering.document)["services"]["web"]["image"] == "node:20"


SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["env"],
    "properties": {"env": {"enum": ["dev", "prod"]}, "replicas": {"type": "integer", "minimum": 1}},
}


class TestValues:
    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"env": "test"}, "spec.template.values.env: 'test' is not one of ['dev', 'prod']"),
            ({"env": "dev", "replicas": 0}, "spec.template.values.replicas: 0 is less than the minimum of 1"),
            ({}, "'env' is a required property"),
            ({"env": "dev", "foo": 1}, "'foo' was unexpected"),
        ],
    )
    async def test_a_value_against_its_schema(
        self, renderer: Renderer, values: dict[str, Any], told: str
    ) -> None:
        refused = await refusal(renderer, "services: {}", SCHEMA, values)
        assert refused.reason == Reason.VALUES_INVALID
        assert told in refused.message

    async def test_a_pattern_that_never_ends(self, renderer: Renderer) -> None:
        schema = {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}
        refused = await refusal(renderer, "services: {}", schema, {"a": "a" * 64 + "!"})
        assert refused.reason == Reason.RENDER_LIMIT_EXCEEDED

    async def test_a_schema_from_elsewhere_is_not_fetched(self, renderer: Renderer) -> None:
        schema = {"$ref": "https://example.org/schema.json"}
        refused = await refusal(renderer, "services: {}", schema)
        assert refused.reason == Reason.TEMPLATE_BROKEN

    @pytest.mark.parametrize(
        "value",
        ["a\nservices: {evil: {image: x}}", "'", '"', "}", "# x", "*a", "!!x", "yes", "$x ${y}", "{{ x }}"],
    )
    async def test_a_value_stays_one_value(self, renderer: Renderer, value: str) -> None:
        environment = 'environment:\n      A: {{ a }}\n      B: "x-{{ a | text }}"\n'
        template = "services:\n  web:\n    image: node:20\n    " + environment
        document = json.loads((await render(renderer, template, OPEN, {"a": value})).document)
        environment = document["services"]["web"]["environment"]
        assert {name: text.replace("$$", "$") for name, text in environment.items()} == {
            "A": value,
            "B": f"x-{value}",
        }
        assert list(document["services"]) == ["web"]


class TestTemplates:
    async def test_an_unknown_template_names_what_there_is(self) -> None:
        with pytest.raises(Refused) as caught:
            catalog.read(CATALOG, "wordpress")
        assert caught.value.reason == Reason.TEMPLATE_NOT_FOUND
        assert "node-postgres" in caught.value.message

    @pytest.mark.parametrize("name", ["..", "../node-postgres", "", "A", "node-postgres/"])
    async def test_a_name_is_no_path(self, name: str) -> None:
        with pytest.raises(Refused):
            catalog.read(CATALOG, name)

    async def test_an_undefined_variable_is_told_with_its_line(self, renderer: Renderer) -> None:
        refused = await refusal(renderer, "services:\n  web:\n    image: {{ imagee }}\n")
        assert refused.reason == Reason.UNDEFINED_VARIABLE
        assert "compose.yaml.j2, line 3: 'imagee' is undefined" in refused.message

    async def test_a_broken_template_is_told_with_its_line(self, renderer: Renderer) -> None:
        refused = await refusal(renderer, "services:\n{% if %}\n")
        assert refused.reason == Reason.TEMPLATE_BROKEN
        assert "line 2" in refused.message

    @pytest.mark.parametrize(
        "expression",
        [
            "{{ ''.__class__.__mro__ }}",
            "{{ ''.__class__.__base__.__subclasses__() }}",
            "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
            "{{ self.__init__.__globals__ }}",
            "{{ (x for x in ()).gi_frame.f_builtins }}",
            "{{ '{0.__class__}'.format(1) }}",
            "{% for x in [].append(1) %}{% endfor %}",
            "{{ ''|attr('__class__') }}",
        ],
    )
    async def test_the_sandbox_holds(self, renderer: Renderer, expression: str) -> None:
        refused = await refusal(renderer, f"services: {{}}\na: {expression}\n")
        assert refused.reason in (
            Reason.TEMPLATE_FORBIDDEN,
            Reason.TEMPLATE_BROKEN,
            Reason.UNDEFINED_VARIABLE,
        )
        if "__" in expression:
            assert refused.reason == Reason.TEMPLATE_FORBIDDEN, refused.message

    @pytest.mark.parametrize("expression", ["{% include '/etc/passwd' %}", "{% import 'os' as os %}"])
    async def test_templates_read_no_files(self, renderer: Renderer, expression: str) -> None:
        refused = await refusal(renderer, expression)
        assert refused.reason == Reason.TEMPLATE_BROKEN

    @pytest.mark.parametrize(
        "template",
        [
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "{{ 'a' * 10 ** 10 }}",
            "{{ (10 ** (10 ** 10)) > 1 }}",
            "{% for a in range(99999) %}aaaaaaaaaaaaaaaaaaaa{% endfor %}",
            "{{ '%1000000000d' % 1 }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{{ range(10 ** 9) | list }}",
        ],
    )
    async def test_nothing_takes_for_ever(self, renderer: Renderer, template: str) -> None:
        refused = await refusal(renderer, template)
        assert refused.reason == Reason.RENDER_LIMIT_EXCEEDED, refused.message

    async def test_the_next_rendering_works_after_one_that_was_killed(self, renderer: Renderer) -> None:
        await refusal(
            renderer, "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        )
        await render(renderer, "services: {web: {image: node:20}}")
