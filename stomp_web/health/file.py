"""`HealthFile`: a file that tells the health of a program, for probes that run a command."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
import typing
from pathlib import Path

from .._internal.log import get_logger
from ..errors import StompError
from .report import Report

__all__ = ["RENEWED_EVERY", "HealthFile"]

_log = get_logger("health")

#: Seconds between two renewals of the modification time.
RENEWED_EVERY: typing.Final = 5.0


class HealthFile:
    """The file at *path*, which holds the JSON text of a report, without details.

    The file is replaced when the report changes. While the program is live, the modification time is renewed every
    `RENEWED_EVERY` seconds.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self._text = b""
        self._renewed_at = 0.0
        self._failed = False  # whether the last attempt to write has failed, which is logged only once

    def begin(self, report: Report) -> None:
        """Write the file for the first time. Raises `StompError` if the file cannot be written."""
        try:
            self._write(report)
        except OSError as error:
            raise StompError(
                f"the health file {self._path} cannot be written: {error.strerror}; choose another path, or create "
                "its directory and let this user write to it"
            ) from None

    def update(self, report: Report) -> None:
        """Write the file if *report* has changed.

        Otherwise, if the program is live and the last renewal was at least `RENEWED_EVERY` seconds ago, renew the
        modification time. If the file cannot be written, log the error. Only the first of several errors in a row is
        logged.
        """
        try:
            if self._text_of(report) != self._text:
                self._write(report)
            elif report.live and time.monotonic() - self._renewed_at >= RENEWED_EVERY:
                self._renew(report)
        except OSError as error:
            if not self._failed:
                self._failed = True
                _log.error("the health file %s cannot be written: %s", self._path, error.strerror)
            return
        self._failed = False

    def remove(self) -> None:
        """Remove the file. If this fails, do nothing."""
        with contextlib.suppress(OSError):  # it is not there, or the directory is read-only now
            self._path.unlink()

    def _renew(self, report: Report) -> None:
        try:
            os.utime(self._path)
        except FileNotFoundError:  # removed by another program
            self._write(report)
        self._renewed_at = time.monotonic()

    def _write(self, report: Report) -> None:
        """Replace the file in one step, so that a probe never reads an incomplete file."""
        text = self._text_of(report)
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
            Path(name).chmod(0o644)  # a probe may run as another user
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._text = text
        self._renewed_at = time.monotonic()

    @staticmethod
    def _text_of(report: Report) -> bytes:
        return dataclasses.replace(report, details={}).body()
