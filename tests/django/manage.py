"""A project's `manage.py`, for `python -m tests.django.manage`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.stored_settings")

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
