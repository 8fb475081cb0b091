"""Tools for tests of Django projects."""

from __future__ import annotations

import typing

from django.test import utils

from ..publisher import OutboxMessage
from ..testing.captured import capture_if
from .publishers import publishers

__all__ = ["capture_messages"]


class capture_messages(utils.TestContextDecorator):  # noqa: N801 - Django names its test decorators like this
    """Records messages instead of sending them. A context manager, and a decorator for a test or a ``TestCase``.

    * *using* - the alias whose messages are recorded. With ``None``, the messages of all publishers are recorded.
    * *attr_name* - for a decorated class: the name of the attribute that holds the list of messages.
    * *kwarg_name* - for a decorated function: the name of the argument that gets the list.

    A ``TestCase`` never commits. If code sends with ``on_commit=True``, run the code inside
    ``with self.captureOnCommitCallbacks(execute=True):``.

    >>> with capture_messages() as messages:  # doctest: +SKIP
    ...     self.client.post("/orders", {"id": 7})
    >>> messages[0].payload  # doctest: +SKIP
    {'id': 7}
    """

    def __init__(
        self, using: str | None = None, *, attr_name: str | None = None, kwarg_name: str | None = None
    ) -> None:
        super().__init__(attr_name, kwarg_name)
        self._using = using
        self._captures: list[typing.ContextManager[list[OutboxMessage]]] = []

    def enable(self) -> list[OutboxMessage]:
        """Start recording. Return the list to which each recorded message is added.

        Raises `PublisherDoesNotExist` for an unknown alias.
        """
        using = self._using
        if using is not None:
            publishers[using]
        self._captures.append(capture_if(lambda each: using is None or each is publishers[using]))
        return self._captures[-1].__enter__()

    def disable(self) -> None:
        """Stop recording."""
        self._captures.pop().__exit__(None, None, None)
