"""Passes events of the compiled part to `logging`.

They are passed by the call in which they occur, at its end, and otherwise by a thread.
"""

from __future__ import annotations

import atexit
import logging
import threading
import traceback

from deltalakedb import _internal

#: How long the end of the program waits for a handler that is at work.
_END_SECONDS = 2.0

# Otherwise programs that do not configure `logging` print warnings.
logging.getLogger("deltalakedb").addHandler(logging.NullHandler())


class _State(threading.local):
    #: Whether a handler is being called: it may use the package itself.
    is_passing = False


_state = _State()


def flush() -> None:
    """Passes the events that are waiting."""
    if not _state.is_passing:
        _pass_on(_internal.take_log_events())


def start() -> None:
    """Starts the thread for events that occur outside of calls, or in long ones."""
    thread = threading.Thread(target=_run, name="deltalakedb-logging", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return  # the program ends, and its last calls pass their events themselves
    atexit.register(_stop, thread)


def _run() -> None:
    while (events := _internal.wait_for_log_events()) is not None:
        _pass_on(events)


def _stop(thread: threading.Thread) -> None:
    _internal.close_log_events()
    thread.join(_END_SECONDS)
    flush()


def _pass_on(events: list[_internal.LogEvent]) -> None:
    _state.is_passing = True
    try:
        for event in events:
            try:
                _handle(event)
            except Exception:
                # What fails here is a filter or a handler of the program.
                if logging.raiseExceptions:
                    traceback.print_exc()
    finally:
        _state.is_passing = False


def _handle(event: _internal.LogEvent) -> None:
    logger = logging.getLogger(event.logger)
    if not logger.isEnabledFor(event.level):
        return
    fields = dict(event.fields)
    text = " ".join([event.message, *(f"{key}={fields[key]}" for key in fields)])
    record = logger.makeRecord(
        event.logger, event.level, event.file, event.line, text, (), None
    )
    record.created = event.time
    record.msecs = event.time % 1 * 1000
    record.__dict__["fields"] = fields
    logger.handle(record)
