"""Log lines: what an operator reads, what a program parses, and whose they are."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from netplug import log
from netplug.log import ConsoleFormatter, JsonFormatter
from netplug.settings import Settings

# 2026-01-31T12:00:00.250Z
_CREATED_S = 1769860800.25
_TIME = "2026-01-31T12:00:00.250Z"


def _record(message: str = "network created", /, **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "netplug.service.networks",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": message,
            "created": _CREATED_S,
            "msecs": 250.0,
            **fields,
        }
    )


def _failing_record() -> logging.LogRecord:
    try:
        raise ValueError("no")
    except ValueError:
        return _record("request failed", exc_info=sys.exc_info())


def test_console_line_is_time_level_event_and_fields() -> None:
    line = ConsoleFormatter(has_colour=False).format(_record(pool="10.9.0.0/24", steps=3))

    assert line == f"{_TIME} INFO     network created                  pool=10.9.0.0/24 steps=3"


def test_console_line_without_fields_has_nothing_behind_the_event() -> None:
    line = ConsoleFormatter(has_colour=False).format(_record())

    assert line == f"{_TIME} INFO     network created"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('"', r'"\""'),
        ("line\nINFO forged", r'"line\nINFO forged"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        (None, "None"),
    ],
)
def test_console_value_can_be_read_in_one_way_only(value: object, text: str) -> None:
    line = ConsoleFormatter(has_colour=False).format(_record(value=value))

    assert line.endswith(f" value={text}")


def test_console_level_is_coloured_on_a_terminal_only() -> None:
    record = _record(levelno=logging.WARNING, levelname="WARNING")

    assert "\x1b[33mWARNING \x1b[0m" in ConsoleFormatter(has_colour=True).format(record)
    assert "\x1b" not in ConsoleFormatter(has_colour=False).format(record)


def test_console_trace_stands_below_the_line() -> None:
    lines = ConsoleFormatter(has_colour=False).format(_failing_record()).splitlines()

    assert lines[0] == f"{_TIME} INFO     request failed"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: no"


def test_json_line_is_one_object() -> None:
    line = JsonFormatter().format(_record(pool="10.9.0.0/24", steps=3, path=OSError("é\n")))

    assert "\n" not in line
    assert json.loads(line) == {
        "at": _TIME,
        "level": "info",
        "logger": "netplug.service.networks",
        "message": "network created",
        "pool": "10.9.0.0/24",
        "steps": 3,
        "path": "é\n",
    }


def test_json_fields_do_not_take_the_place_of_the_head() -> None:
    line = json.loads(JsonFormatter().format(_record(event="network.create", level="forged")))

    assert (line["message"], line["level"]) == ("network created", "info")
    assert line["event"] == "network.create"


def test_json_trace_is_a_field() -> None:
    line = JsonFormatter().format(_failing_record())

    assert json.loads(line)["trace"].endswith("ValueError: no")


def test_context_is_on_every_line_inside_and_on_none_behind() -> None:
    formatter = ConsoleFormatter(has_colour=False)

    with log.context(request_id="7f3a"):
        with log.context(network_id="n1", endpoint_id="e1"):
            inner = formatter.format(_record())
        outer = formatter.format(_record())
    behind = formatter.format(_record())

    assert inner.endswith(" request_id=7f3a network_id=n1 endpoint_id=e1")
    assert outer.endswith(" request_id=7f3a")
    assert behind.endswith("network created")


async def test_context_is_inherited_by_a_task_and_not_shared_with_another() -> None:
    formatter = ConsoleFormatter(has_colour=False)

    async def line(network_id: str) -> str:
        with log.context(network_id=network_id):
            await asyncio.sleep(0)
            return formatter.format(_record())

    with log.context(request_id="7f3a"):
        one, other = await asyncio.gather(line("n1"), line("n2"))

    assert one.endswith(" request_id=7f3a network_id=n1")
    assert other.endswith(" request_id=7f3a network_id=n2")


@pytest.fixture
def _root_logger_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_root_logger_restored")
def test_set_up_writes_once_and_from_the_level_up() -> None:
    stream = io.StringIO()
    settings = Settings(log_format="json", log_level="warning")

    log.set_up(settings, stream)
    log.set_up(settings, stream)
    logging.getLogger("netplug.x").info("passed over")
    logging.getLogger("netplug.x").warning("queue full", extra={"dropped": 2})

    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["dropped"] == 2


@pytest.mark.usefixtures("_root_logger_restored")
def test_set_up_for_people_is_the_default() -> None:
    stream = io.StringIO()

    log.set_up(Settings(), stream)
    logging.getLogger("netplug.x").info("daemon ready")

    assert stream.getvalue().endswith("Z INFO     daemon ready\n")
