"""The settings of a worker of tasks, in a process of its own."""

from __future__ import annotations

import json
import os

from tests.django.stored_settings import *  # noqa: F403
from tests.django.stored_settings import STOMP

TASKS = json.loads(os.environ["TEST_TASKS"])
STOMP = {**STOMP, "default": {**STOMP["default"], "WORKER": json.loads(os.environ.get("TEST_WORKER", "{}"))}}
