"""The project's settings with one database that several processes can share."""

from __future__ import annotations

import os

from tests.django.settings import *  # noqa: F403
from tests.django.settings import database

DATABASES = {"default": database(os.environ["TEST_DATABASE"])}
