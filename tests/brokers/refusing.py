"""What the tests of refusals share: they wait for the answer that is about the frame."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

import pytest

from stomp_web import StompError

if TYPE_CHECKING:
    from collections.abc import Callable

_E = TypeVar("_E", bound=StompError)


def check_refused(act: Callable[[], object], words: str, kind: type[_E]) -> None:
    """Fail unless *act* raises a *kind* with a text that *words* matches.

    If RabbitMQ refuses a queue, a SEND or a SUBSCRIBE, its channel ends. One time in a thousand, RabbitMQ 4.3.6 uses
    that channel once more before it knows. It then answers "Processing error", and the refusal comes second. So *act*
    is done once more.
    """
    for _ in range(10):
        with pytest.raises(StompError) as failure:
            act()
        if "Processing error" not in str(failure.value):
            break
    assert isinstance(failure.value, kind)
    assert re.search(words, str(failure.value))
