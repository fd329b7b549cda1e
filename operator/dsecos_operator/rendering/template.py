"""From a template and values to text. Runs inside the sandbox of `zygote`.

Values are data. Whatever an expression yields is written as JSON, which is a YAML flow scalar: a value can
neither end its line nor add a key. A dollar sign in a value is doubled, so it can name no secret. `{{ x |
text }}` yields the inside of such a scalar, for use between double quotes; only `safe` passes text as it is,
and that is the template author's word.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping
from typing import Any

from dsecos_api import Reason
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from dsecos_operator.rendering.limits import MAX_CHARACTERS
from dsecos_operator.rendering.refused import Refused, shown

FILE = "compose.yaml.j2"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Raises Refused (TemplateBroken, TemplateForbidden, UndefinedVariable, RenderLimitExceeded)."""
    try:
        pieces: list[str] = []
        length = 0
        for piece in _environment().from_string(template).generate(**values):
            length += len(piece)
            if length > MAX_CHARACTERS:
                raise Refused(
                    Reason.RENDER_LIMIT_EXCEEDED, f"{FILE} renders to more than {MAX_CHARACTERS} characters"
                )
            pieces.append(piece)
        return "".join(pieces)
    except TemplateSyntaxError as error:
        raise Refused(
            Reason.TEMPLATE_BROKEN, f"{FILE}, line {error.lineno}: {shown(error.message)}"
        ) from error
    except SecurityError as error:
        raise Refused(
            Reason.TEMPLATE_FORBIDDEN, f"{_where(error)}: the sandbox refused it: {shown(error)}"
        ) from error
    except UndefinedError as error:
        raise Refused(
            Reason.UNDEFINED_VARIABLE,
            f"{_where(error)}: {shown(error)}; give it in spec.template.values, or a default in"
            " values.schema.json",
        ) from error
    except (MemoryError, RecursionError, OverflowError) as error:
        raise Refused(
            Reason.RENDER_LIMIT_EXCEEDED, f"{_where(error)}: it needs too much ({type(error).__name__})"
        ) from error
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Refused(Reason.TEMPLATE_BROKEN, f"{_where(error)}: {shown(error)}") from error


def to_json(value: object) -> Markup:
    """A value as a YAML flow scalar or collection. Raises TypeError for what JSON has no form for."""
    text = _SURROGATES.sub(_one_escape, json.dumps(value, ensure_ascii=True))
    return Markup(text.replace("$", "$$"))  # noqa: S704 - JSON is the escaping


_SURROGATES = re.compile(r"\\\\|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")


def _one_escape(match: re.Match[str]) -> str:
    """JSON writes a character beyond U+FFFF as two escapes, which YAML takes for two characters."""
    if match[1] is None:
        return match[0]
    return f"\\U{0x10000 + ((int(match[1], 16) & 0x3FF) << 10) + (int(match[2], 16) & 0x3FF):08x}"


def _text(value: object) -> Markup:
    """The inside of a double-quoted scalar."""
    return Markup(to_json(str(value))[1:-1])  # noqa: S704


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup | Undefined):
        return value
    return to_json(value)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        finalize=_finalize,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["tojson"] = to_json
    environment.filters["text"] = _text
    environment.globals.pop("lipsum", None)
    return environment


def _where(error: BaseException) -> str:
    """The template's line; Jinja puts it into the traceback under the name <template>."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"
    ]
    return f"{FILE}, line {lines[-1]}" if lines else FILE
