"""`stomp-web send` and `stomp-web listen` with each broker."""

from __future__ import annotations

import secrets
import typing

import pytest

from stomp_web.cli import main
from tests.brokers import fleet
from tests.brokers.running import PATIENCE

if typing.TYPE_CHECKING:
    from tests.brokers.running import RunningBroker


@pytest.mark.parametrize("broker", ["development", *fleet.REAL], indirect=True)
def test_what_is_sent_is_printed_and_only_that_is_taken(
    broker: RunningBroker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOMP_URL", broker.url)
    queue = f"/queue/cli-{secrets.token_hex(4)}"
    assert main(["send", queue, '{"id": 7}', "--header", "note=é:1"]) == 0
    assert main(["send", queue, "second", "--count", "2"]) == 0
    assert "with 2 receipts" in capsys.readouterr().out
    assert main(["listen", queue, "--count", "1", "--timeout", str(PATIENCE)]) == 0
    out = capsys.readouterr().out
    assert '{\n  "id": 7\n}' in out
    assert "note: é:1\n" in out
    assert main(["listen", queue, "--count", "2", "--timeout", str(PATIENCE), "--ack", "client"]) == 0
    assert capsys.readouterr().out.count("\n\nsecond\n") == 2
    assert main(["listen", queue, "--timeout", "0.2"]) == 0
    assert "message 1" not in capsys.readouterr().out
