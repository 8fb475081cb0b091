"""The smallest use of the client, as the documentation has it: word for word, but for the broker's port."""

from __future__ import annotations

import datetime
import pickle
import subprocess
import sys

EXAMPLE = """\
# the plain client: the smallest use
import pickle
from datetime import datetime
from stomp_web import PublishClient

client = PublishClient("127.0.0.1", 61613)
client.connect()
payload = {"key": "value", "counter": 0, "list": ["a", "b", "c"], "date": datetime.now()}
client.send("/queue/example", pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL))
client.disconnect()
"""


def test_the_smallest_use_sends_a_pickle(broker):
    code = EXAMPLE.replace("61613", str(broker.port))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (frame,) = broker.messages("/queue/example")
    payload = pickle.loads(frame.body)
    assert isinstance(payload.pop("date"), datetime.datetime)
    assert payload == {"key": "value", "counter": 0, "list": ["a", "b", "c"]}
    assert broker.received("DISCONNECT") == 1
