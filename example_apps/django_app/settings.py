"""The settings. What concerns messages is in INSTALLED_APPS and STOMP."""

import os
import secrets
from pathlib import Path

from example_apps.shop import KEEP

INSTALLED_APPS = ["example_apps.django_app", "stomp_web.django", "stomp_web.django.outbox"]

STOMP = {
    "default": {
        "OPTIONS": {
            "url": os.environ.get("STOMP_URL", "stomp://127.0.0.1:61613"),
            "timeout": 3,  # seconds that a user waits at most when the broker does not answer
        },
        # The site itself sends, and leaves to a relay what it could not. Sent messages are kept, to tell that they are.
        "OUTBOX": {"relay": "inline", "keep": KEEP},
    }
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("ORDERS_DATABASE", Path(__file__).parent / "instance" / "orders.sqlite3"),
        # Site, consumer and relay write to one file: wait for each other.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL",
        },
    }
}

# Nothing here is signed that must outlive the process; a site sets a key of its own.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secrets.token_hex()
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "example_apps.django_app.urls"
USE_TZ = True
TIME_ZONE = "UTC"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
