"""Does what ``manage.py`` does. Without arguments it makes the database and starts Django's development server."""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_apps.django_app.settings")
    Path(__file__).with_name("instance").mkdir(exist_ok=True)
    if len(sys.argv) > 1:
        execute_from_command_line(sys.argv)
        return
    execute_from_command_line([sys.argv[0], "migrate", "--verbosity", "0"])
    execute_from_command_line([sys.argv[0], "runserver", "--noreload", "127.0.0.1:8001"])


if __name__ == "__main__":
    main()
