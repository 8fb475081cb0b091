"""The settings of a worker of tasks, in a process of its own."""

from __future__ import annotations

import json
import os

from tests.django.stored_settings import *  # noqa: F403

TASKS = json.loads(os.environ["TEST_TASKS"])
