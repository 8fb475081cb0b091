"""Process one frame of a client: normally, or with a fault."""

from __future__ import annotations

import logging

from ..protocol import Frame
from .connection import Connection
from .journal import Journal
from .log import log, notices
from .rules import Fault, FaultRules

__all__ = ["exchange"]


def exchange(connection: Connection, rules: FaultRules, journal: Journal) -> bool:
    """Process and answer the next frame that *connection* has read. False if there is none yet.

    Raises `ProtocolError` if the bytes are not a frame.
    """
    frame, fault = connection.pending_frame, None
    connection.pending_frame = None
    if frame is None:
        frame = connection.buffer.extract_frame()
        if frame is None:
            return False
        journal.frames[frame.command] += 1
        fault = rules.due(frame.command)
    if fault is None:
        answers = connection.session.handle(frame)
        connection.answer(answers)
    else:
        answers = _apply(connection, frame, fault)
    connection.buffer.version = connection.session.version
    _log(connection, frame, answers)
    return True


def _apply(connection: Connection, frame: Frame, fault: Fault) -> list[Frame]:
    """Process *frame* as *fault* says, and return the answers that were sent."""
    session = connection.session
    if fault.freeze:
        connection.frozen = True
        connection.pending_frame = frame
        return []
    answers: list[Frame] = []
    if not fault.answer and not session.connected:
        # A CONNECT that is never answered makes no session, so that no heart-beat is sent.
        connection.awaits_connect = False
    elif fault.process:
        answers = session.handle(frame)
    if not fault.answer:
        answers = []
    if fault.instead is not None:
        error = fault.instead
        receipt = frame.headers.get("receipt") if fault.receipt_id else None
        headers = error.headers if receipt is None else {**error.headers, "receipt-id": receipt}
        answers = [Frame(error.command, headers, error.body)]
    if fault.before:
        connection.write(fault.before, fault.delay)
    connection.answer(answers, fault)
    if fault.after_answer:
        connection.write(fault.after_answer)
    if fault.abort:
        connection.aborted = True
        connection.reset = fault.reset
    if fault.close:
        session.ended = True
    return answers


def _log(connection: Connection, frame: Frame, answers: list[Frame]) -> None:
    session = connection.session
    if log.isEnabledFor(logging.DEBUG):
        destination = frame.headers.get("destination")
        where = "" if destination is None else f" {destination!r}"
        notices.add(log.debug, "connection %d: %s%s", session.number, frame.command, where)
    for answer in answers:
        if answer.command == "ERROR":
            text = answer.body.decode(errors="replace")
            notices.add(log.warning, "connection %d: ERROR to %s: %r", session.number, frame.command, text)
        elif answer.command == "CONNECTED":
            notices.add(log.info, "connection %d: connected, STOMP %s", session.number, session.version)
