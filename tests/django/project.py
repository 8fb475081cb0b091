"""The one Django project that the tests of a process can have; Django takes its settings once for a process."""

from __future__ import annotations

import django
from django.conf import settings

from tests.django import settings as project


def set_up() -> None:
    """Configure Django, if that was not done yet: not through the environment, which other processes would inherit."""
    if not settings.configured:
        settings.configure(**{name: getattr(project, name) for name in dir(project) if name.isupper()})
        django.setup()
