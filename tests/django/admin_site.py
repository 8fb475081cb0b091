"""A site with Django's admin, in which an operator looks at the outbox. Run in a process of its own."""

from __future__ import annotations

import json
import pickle

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["testserver"],
    USE_TZ=True,
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    STOMP={"default": {"OPTIONS": {"url": "memory://"}}},
    INSTALLED_APPS=[
        *("django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages"),
        *("django.contrib.sessions", "stomp_web.django", "stomp_web.django.outbox"),
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402

from stomp_web.django.outbox.models import OutboxMessage, TaskRecord  # noqa: E402

urlpatterns = [path("admin/", admin.site.urls)]


class Loaded:
    """A pickle that tells if it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("THE PICKLE WAS LOADED",)


def add(state: str, body: bytes, content_type: str, error: str = "") -> OutboxMessage:
    return OutboxMessage.objects.create(
        message_id=f"m-{state}-{content_type}",
        destination="/queue/orders",
        headers="{}",
        content_type=content_type,
        body=body,
        alias="default",
        created_at=timezone.now(),
        state=state,
        last_error=error,
    )


call_command("migrate", verbosity=0)
User.objects.create_superuser("operator", password="operator")
client = Client()
assert client.login(username="operator", password="operator")
failed = add("failed", b'{"name":"<b>B\xc3\xbccher</b>"}', "application/json", "Rejected: access refused")
pickled = add("failed", pickle.dumps(Loaded()), "application/x-python-serialize")
add("pending", b"1", "application/json")

where = "/admin/stomp_web_outbox/outboxmessage/"
shown = client.get(where).content.decode()
assert "Rejected: access refused" in shown
assert client.get(f"{where}?state__exact=failed").content.decode().count("/queue/orders") < shown.count("/queue/orders")
page = client.get(f"{where}{failed.pk}/change/").content.decode()
assert "&lt;b&gt;B\u00fccher&lt;/b&gt;" in page
assert client.get(f"{where}{pickled.pk}/change/").status_code == 200
assert client.get(f"{where}add/").status_code == 403
assert client.post(f"{where}{failed.pk}/delete/", {"post": "yes"}).status_code == 403

client.post(where, {"action": "retry", "_selected_action": [str(failed.pk)]})
assert OutboxMessage.objects.get(pk=failed.pk).state == "pending"
client.post(where, {"action": "discard", "_selected_action": [str(pickled.pk)]})
assert not OutboxMessage.objects.filter(pk=pickled.pk).exists()

task = TaskRecord.objects.create(
    id="6e4d",
    backend="default",
    task="shop.tasks.bill",
    queue="default",
    priority=0,
    args="[7]",
    kwargs="{}",
    status="FAILED",
    enqueued_at=timezone.now(),
    errors=json.dumps([["builtins.ValueError", "Traceback: <b>no tea</b>"]]),
    worker_ids='["machine-1", "machine-2"]',
)
where = "/admin/stomp_web_outbox/taskrecord/"
assert '<td class="field-attempts">2</td>' in client.get(f"{where}?status__exact=FAILED").content.decode()
assert "&lt;b&gt;no tea&lt;/b&gt;" in client.get(f"{where}{task.pk}/change/").content.decode()
assert client.get(f"{where}add/").status_code == 403
print("retried and discarded")
