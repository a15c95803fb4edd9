"""Structured logging: events with fields, one line each, written by a thread of its own.

- A logger made at import works before and after `configure`; levels change at once for all loggers of a component.
- A call below its component's level costs one comparison.
- The queue is bounded: what a slow reader can't take is dropped and counted, never waited for (reliability.md §4.13).
- Identifiers bound by `bound(connection_id=...)` stand on every line of the task.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType

import structlog
from structlog.contextvars import bound_contextvars

from server.telemetry import metrics
from server.telemetry.render import render_json, render_text

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
QUEUE_LINES_MAX = 20_000
FLUSH_TIMEOUT_S = 2.0

bound = bound_contextvars


class _Sink:
    """Takes rendered lines; writes them at once until `start`, afterwards by a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self.dropped = 0

    def put(self, line: bytes) -> None:
        if self._thread is None:
            _write_all(self._descriptor, line)
        elif len(self._lines) < QUEUE_LINES_MAX:
            self._lines.append(line)
            self._wake.set()
        else:
            self.dropped += 1
            metrics.LOG_DROPPED.inc()

    def start(self, descriptor: int) -> None:
        self.stop()
        self._descriptor, self._stopping = descriptor, False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for at most FLUSH_TIMEOUT_S; later lines are written at once."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            self._wake.set()
            thread.join(FLUSH_TIMEOUT_S)

    def _run(self) -> None:
        told = 0
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                batch = b"".join(self._lines.popleft() for _ in range(min(len(self._lines), 200)))
                _write_all(self._descriptor, batch)
            if self.dropped > told:
                missed, told = self.dropped - told, self.dropped
                _write_all(self._descriptor, _line("warning", "daemon", "log.dropped", {"lines": missed}))
            if self._stopping:
                return


class _Component:
    """The level of one component, shared by its loggers."""

    __slots__ = ("name", "threshold")

    def __init__(self, name: str, threshold: int) -> None:
        self.name = name
        self.threshold = threshold


class _State:
    """What `configure` sets."""

    def __init__(self) -> None:
        self.render: Callable[[Mapping[str, object]], bytes] = render_json
        self.level = WARNING
        self.levels: dict[str, int] = {}
        self.components: dict[str, _Component] = {}
        self.sink = _Sink(2)

    def component(self, name: str) -> _Component:
        if name not in self.components:
            self.components[name] = _Component(name, self.levels.get(name, self.level))
        return self.components[name]


_state = _State()


class Logger(structlog.BoundLoggerBase):
    """A structlog logger of one component: `log.info("queue.attempt", queue_id=..., code=451)`."""

    _logger: _Component

    def debug(self, event: str, **fields: object) -> None:
        if self._logger.threshold <= DEBUG:
            self._emit("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        if self._logger.threshold <= INFO:
            self._emit("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        if self._logger.threshold <= WARNING:
            self._emit("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        if self._logger.threshold <= ERROR:
            self._emit("error", event, fields)

    def exception(self, event: str, error: BaseException | None = None, **fields: object) -> None:
        """An error of ours with its traceback: `error`, or the one being handled."""
        found = error or sys.exc_info()[1]
        described = _described(found, found.__traceback__) if found is not None else {}
        self._emit("error", event, {**fields, **described})

    def _emit(self, level: str, event: str, fields: dict[str, object]) -> None:
        _state.sink.put(_line(level, self._logger.name, event, {**self._context, **fields}))


def get_logger(component: str) -> Logger:
    """The logger of a component: smtp, submission, imap, queue, api, storage, tls, daemon..."""
    return Logger(_state.component(component), [], {})


def configure(*, level: str, levels: Mapping[str, str], text: bool, descriptor: int | None = None) -> None:
    """Set levels and form; with a descriptor also start the writing thread.

    Args:
        level: Least level of components that `levels` doesn't name.
        text: Lines for a person's terminal in place of JSON.
        descriptor: Where lines go from now on; None leaves it as it is.
    """
    _state.render = render_text if text else render_json
    _state.level = LEVELS[level]
    _state.levels = {name: LEVELS[word] for name, word in levels.items()}
    for name, component in _state.components.items():
        component.threshold = _state.levels.get(name, _state.level)
    if descriptor is not None:
        _state.sink.start(descriptor)
    root = logging.getLogger()
    root.handlers = [_FromLibraries()]
    root.setLevel(max(WARNING, _state.component("library").threshold))
    sys.excepthook = _uncaught


def shutdown() -> None:
    """Write what waits in the queue."""
    _state.sink.stop()


class _FromLibraries(logging.Handler):
    """Takes records of the standard library's logging, which our libraries use."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields.update(_described(record.exc_info[1], record.exc_info[2]))
        level = next((word for word, number in reversed(LEVELS.items()) if record.levelno >= number), "debug")
        _state.sink.put(_line(level, "library", "library.message", {"message": record.getMessage(), **fields}))


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _state.sink.put(_line("error", "daemon", "daemon.uncaught", _described(error, trace)))


def _described(error: BaseException, trace: TracebackType | None) -> dict[str, object]:
    lines = "".join(traceback.format_exception(type(error), error, trace, limit=-20))
    return {"error": f"{type(error).__name__}: {error}", "traceback": lines[-4000:]}


def _line(level: str, component: str, event: str, fields: Mapping[str, object]) -> bytes:
    timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return _state.render(
        {
            "timestamp": timestamp,
            "level": level,
            "component": component,
            "event": event,
            **structlog.contextvars.get_contextvars(),
            **fields,
        }
    )


def _write_all(descriptor: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        metrics.LOG_DROPPED.inc()
