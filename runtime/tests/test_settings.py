"""Settings that are wrong are told, each in a line, before anything is begun."""

from __future__ import annotations

import pytest
from dsecos_runtime import RuntimeSettings, read_settings
from dsecos_runtime.settings import WRONG_SETTINGS


def read() -> RuntimeSettings:
    return read_settings(lambda: RuntimeSettings(name="part"))


def test_a_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSECOS_LOG_LEVEL", "debug")
    assert read().log_level == "DEBUG"


def test_each_wrong_one_is_named_with_its_value_and_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DSECOS_LOG_LEVEL", "loud")
    monkeypatch.setenv("DSECOS_METRICS_PORT", "many")
    with pytest.raises(SystemExit) as ended:
        read()
    assert ended.value.code == WRONG_SETTINGS
    port, level = capsys.readouterr().err.splitlines()
    assert port.startswith("error: DSECOS_METRICS_PORT is 'many': Input should be a valid integer")
    assert level == "error: DSECOS_LOG_LEVEL is 'LOUD': Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"


def test_one_that_is_no_json_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DSECOS_NAMESPACES", "a,b")
    with pytest.raises(SystemExit):
        read()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: error parsing value for field "namespaces"')


def test_one_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_settings(RuntimeSettings)
    assert capsys.readouterr().err == "error: DSECOS_NAME is not set: Field required\n"
