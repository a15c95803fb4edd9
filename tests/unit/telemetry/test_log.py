"""server.telemetry.log: lines, levels and the bounded queue (security.md §13)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from server.config.secret import Secret
from server.telemetry import log, render


@dataclass
class Output:
    """The reading end of the pipe the log is written to."""

    descriptor: int

    def lines(self) -> list[dict[str, object]]:
        log.shutdown()
        return [json.loads(line) for line in os.read(self.descriptor, 1 << 20).splitlines()]


@pytest.fixture
def output() -> Iterator[Output]:
    reading, writing = os.pipe()
    log.configure(level="info", levels={"imap": "error"}, text=False, descriptor=writing)
    yield Output(reading)
    log.shutdown()
    log.configure(level="warning", levels={}, text=False, descriptor=2)
    log.shutdown()
    logging.getLogger().handlers = []
    os.close(reading)
    os.close(writing)


def test_an_event_is_one_json_object_with_its_fields(output: Output) -> None:
    log.get_logger("queue").info("queue.attempt", queue_id="q1", code=451)
    (line,) = output.lines()
    assert line.pop("timestamp")
    assert line == {"level": "info", "component": "queue", "event": "queue.attempt", "queue_id": "q1", "code": 451}


def test_a_component_has_its_own_level(output: Output) -> None:
    log.get_logger("imap").warning("imap.no")
    log.get_logger("imap").error("imap.yes")
    log.get_logger("smtp").debug("smtp.no")
    assert [line["event"] for line in output.lines()] == ["imap.yes"]


def test_a_reload_changes_the_level_of_a_logger_made_before(output: Output) -> None:
    logger = log.get_logger("imap")
    log.configure(level="info", levels={}, text=False)
    logger.info("imap.heard")
    assert [line["event"] for line in output.lines()] == ["imap.heard"]


def test_bound_identifiers_stand_on_every_line(output: Output) -> None:
    with log.bound(connection_id="c1"):
        log.get_logger("smtp").info("smtp.connect")
    log.get_logger("smtp").bind(listener="smtp").info("smtp.other")
    first, second = output.lines()
    assert first["connection_id"] == "c1"
    assert second["listener"] == "smtp"
    assert "connection_id" not in second


def test_an_exception_carries_its_traceback(output: Output) -> None:
    try:
        raise OSError("disk")
    except OSError:
        log.get_logger("storage").exception("storage.failed")
    (line,) = output.lines()
    assert line["error"] == "OSError: disk"
    assert "test_log.py" in str(line["traceback"])


def test_libraries_log_through_the_same_queue(output: Output) -> None:
    logging.getLogger("some.library").warning("odd %s", "thing")
    (line,) = output.lines()
    assert (line["component"], line["message"], line["logger"]) == ("library", "odd thing", "some.library")


def test_lines_beyond_the_queue_are_dropped_and_counted(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "QUEUE_LINES_MAX", 0)
    log.get_logger("smtp").info("smtp.lost")
    monkeypatch.setattr(log, "QUEUE_LINES_MAX", 10)
    log.get_logger("smtp").info("smtp.kept")
    assert {line["event"] for line in output.lines()} == {"smtp.kept", "log.dropped"}


@pytest.mark.parametrize("peer", ["a\r\nb", "\x1b[31m", "\x00", "\u202eevil", "\udcff", "\x7f\x9b", "\u2028"])
def test_t31_control_characters_of_a_peer_are_escaped(peer: str) -> None:
    line = render.render_json({"event": "x", "helo": peer})
    assert line.count(b"\n") == 1
    assert all(character.isprintable() for character in line[:-1].decode())
    text = render.render_text({"event": "x", "helo": peer})
    assert all(character.isprintable() for character in text[:-1].decode())


def test_t31_a_long_peer_string_is_cut() -> None:
    line = json.loads(render.render_json({"event": "x", "helo": "h" * 1_000_000}))
    assert line["helo"] == "h" * render.STRING_MAX + "..."


def test_a_line_never_passes_its_cap_and_keeps_the_core_fields() -> None:
    fields = {"event": "x", "level": "info", **{f"f{number}": ["v" * 300] * 20 for number in range(100)}}
    line = render.render_json(fields)
    assert len(line) <= render.LINE_MAX
    assert json.loads(line)["truncated"] is True
    assert json.loads(line)["event"] == "x"


def test_odd_values_never_make_rendering_fail() -> None:
    loop: list[object] = []
    loop.append(loop)
    line = json.loads(render.render_json({"event": "x", "a": object, "b": b"\xff", "c": {1: {2}}, "d": 1 << 100}))
    assert line["b"] == "\\xff"
    assert json.loads(render.render_json({"event": "x", "loop": loop}))["event"] == "x"


def test_t33_a_secret_in_a_field_is_stars() -> None:
    assert b"hunter2" not in render.render_json(
        {"event": "x", "secret": Secret("hunter2"), "list": [Secret("hunter2")]}
    )
