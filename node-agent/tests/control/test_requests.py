"""What may be asked of the agent's socket, and how a wrong request is answered."""

import json
from http import HTTPStatus

import pytest
from aiohttp import web
from dsecos_agent.adapter_errors import AdapterError, NotFoundError, NotOursError, UnsupportedError
from dsecos_agent.control.problems import CONTENT_TYPE, ProblemError, response, status_of
from dsecos_agent.control.requests import ExecRequest, parse_exec, parse_size
from dsecos_agent.engines.errors import (
    EngineUnreachableError,
    ExecTimeoutError,
    GuestLockedError,
    GuestNotRunningError,
    IllegalTransitionError,
    OutcomeUnknownError,
    UnsafeConfigError,
)
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"argv": JSON, "env": JSON, "stdin": JSON, "timeLimit": JSON, "shell": JSON}
)


def test_a_command_and_what_it_is_given() -> None:
    asked = parse_exec(b'{"argv": ["a", ""], "env": {"A": "b\\n"}, "stdin": "aGk=", "timeLimit": 2.5}')
    assert (asked.argv, dict(asked.env), asked.stdin, asked.time_limit) == (
        ("a", ""),
        {"A": "b\n"},
        b"hi",
        2.5,
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("not json", "body"),
        ("{}", "argv"),
        ('{"argv": []}', "argv"),
        ('{"argv": "ls"}', "argv"),
        ('{"argv": ["a\\u0000b"]}', "argv.0"),
        ('{"argv": ["a"], "env": {"A;B": "x"}}', "env.A;B.[key]"),
        ('{"argv": ["a"], "env": {"A": "\\u0000"}}', "env.A"),
        ('{"argv": ["a"], "stdin": "%%%"}', "stdin"),
        ('{"argv": ["a"], "stdin": 5}', "stdin"),
        ('{"argv": ["a"], "timeLimit": 0}', "timeLimit"),
        ('{"argv": ["a"], "timeLimit": 1e9}', "timeLimit"),
        ('{"argv": ["a"], "timeLimit": NaN}', "timeLimit"),
        ('{"argv": ["a"], "shell": true}', "shell"),
    ],
)
def test_what_is_wrong_is_named(body: str, field: str) -> None:
    with pytest.raises(ProblemError) as wrong:
        parse_exec(body.encode())
    assert wrong.value.status is HTTPStatus.BAD_REQUEST
    error = wrong.value.errors[0]
    assert set(error) == {"field", "value", "expected"}
    assert error["field"] == field
    assert field in str(wrong.value)


def test_a_value_that_may_be_secret_is_not_repeated() -> None:
    for body in ('{"argv": ["a"], "env": {"A": ["hush"]}}', '{"argv": ["a"], "stdin": "hush!"}', "hush"):
        with pytest.raises(ProblemError) as wrong:
            parse_exec(body.encode())
        assert "hush" not in str(wrong.value)
        assert "hush" not in json.dumps([dict(error) for error in wrong.value.errors])


@given(FIELDS)
def test_any_document_is_a_request_or_a_problem(document: dict[str, object]) -> None:
    answer: ExecRequest | ProblemError
    try:
        answer = parse_exec(json.dumps(document).encode())
    except ProblemError as wrong:
        answer = wrong
    assert isinstance(answer, ExecRequest) or answer.errors


def test_the_size_of_a_terminal() -> None:
    assert (parse_size({}).columns, parse_size({"rows": "50"}).rows) == (80, 50)
    for query in ({"columns": "0"}, {"rows": "1001"}, {"columns": "x"}, {"depth": "1"}):
        with pytest.raises(ProblemError) as wrong:
            parse_size(query)
        assert [error["field"] for error in wrong.value.errors] == list(query)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("x"), 404),
        (NotOursError("guest", "x", wanted="a", found="b"), 409),
        (GuestNotRunningError("x"), 409),
        (IllegalTransitionError("x"), 409),
        (GuestLockedError("x", "backup"), 409),
        (UnsupportedError("x"), 501),
        (ExecTimeoutError("x"), 504),
        (UnsafeConfigError("x"), 400),
        (EngineUnreachableError("x"), 503),
        (OutcomeUnknownError("x"), 503),
        (AdapterError("x"), 500),
    ],
)
def test_every_error_of_an_engine_has_a_status(error: AdapterError, status: int) -> None:
    assert status_of(error) == status


def test_a_problem_document() -> None:
    answer = response(HTTPStatus.NOT_FOUND, "this node has no Guest 'x'")
    assert isinstance(answer, web.Response)
    assert (answer.status, answer.content_type) == (404, CONTENT_TYPE)
    assert json.loads(answer.text or "") == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "this node has no Guest 'x'",
    }
