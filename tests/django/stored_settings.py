"""The project's settings with one database that several processes can share."""

from __future__ import annotations

import json
import os

from tests.django.settings import *  # noqa: F403

DATABASES = {"default": json.loads(os.environ["TEST_DATABASE"])}
