from __future__ import annotations

import asyncio
import contextlib
import io
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.utils import ConnectionHandler
from django.test import TestCase, modify_settings, override_settings
from django.utils import timezone

from stomp_web import ConfigurationError, InvalidFrame, SerializationError
from stomp_web.django import asend, message_sent, publisher, publishers, send, subscribe
from stomp_web.django.checks import check_outbox_app
from stomp_web.django.handlers import handlers_by_alias, make_worker
from stomp_web.django.outbox import checks
from stomp_web.django.outbox.inbox import DjangoInbox
from stomp_web.django.outbox.models import InboxMessage, OutboxMessage
from stomp_web.django.outbox.store import DjangoStore
from stomp_web.django.outbox.writing import make_relay
from stomp_web.django.test import capture_messages
from stomp_web.worker import Handlers, ReceivedMessage
from stomp_web.worker.once import InboxUnavailable
from tests.django.shop.models import Order
from tests.django.test_on_commit import payloads, undone
from tests.wsgi.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.core.checks import CheckMessage

    from stomp_web.outbox import Relay

MEMORY = {"OPTIONS": {"url": "memory://"}}


@pytest.fixture(autouse=True)
def no_rows() -> Iterator[None]:
    yield
    OutboxMessage.objects.all().delete()
    InboxMessage.objects.all().delete()
    Order.objects.all().delete()


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command(*arguments, stdout=output, stderr=io.StringIO())
    return output.getvalue()


def relay() -> int:
    try:
        run("stomp_relay", "--once")
    except SystemExit as end:
        return int(str(end.code))
    return 0


@contextlib.contextmanager
def received_by(receiver: Callable[..., object]) -> Iterator[None]:
    message_sent.connect(receiver)
    try:
        yield
    finally:
        message_sent.disconnect(receiver)


def relay_in_one_transaction(monkeypatch: pytest.MonkeyPatch) -> Relay:
    """As on a database that locks rows, one transaction claims, sends and records."""
    made = make_relay("default")
    monkeypatch.setattr(made.store, "turn", None)
    monkeypatch.setattr(made.store, "check", lambda: None)
    return made


class TestSend:
    def test_a_committed_message_is_relayed(self):
        with transaction.atomic():
            identity = send("/queue/a", {"id": 7}, {"a": "b"}, outbox=True, key="7", priority=5)
            assert payloads() == []
        row = OutboxMessage.objects.get()
        assert (row.message_id, row.key, row.state, row.alias) == (identity, "7", "pending", "default")
        with override_settings(STOMP={"default": MEMORY}):
            assert make_relay("default").run(once=True) == 0
            (message,) = publisher.outbox
        assert (message.id, message.payload) == (identity, {"id": 7})
        assert (message.headers["a"], message.headers["priority"]) == ("b", "5")
        assert not OutboxMessage.objects.exists()

    def test_a_message_that_is_rolled_back_is_gone(self):
        with undone():
            send("/queue/a", 1, outbox=True)
        with transaction.atomic():
            send("/queue/a", 2, outbox=True)
            with undone():
                send("/queue/a", 3, outbox=True)
        assert [bytes(row.body) for row in OutboxMessage.objects.all()] == [b"2"]

    def test_it_needs_a_transaction(self):
        with pytest.raises(ConfigurationError, match="outside of a transaction"):
            send("/queue/a", 1, outbox=True)
        assert not OutboxMessage.objects.exists()

    def test_what_cannot_be_sent_is_refused_and_nothing_is_written(self):
        with transaction.atomic():
            with pytest.raises(SerializationError):
                send("/queue/a", object(), outbox=True)
            with pytest.raises(InvalidFrame):
                send("/queue/a", 1, {"a": 1}, outbox=True)  # type: ignore[dict-item]
            with pytest.raises(ConfigurationError, match="key must have 1 to 255"):
                send("/queue/a", 1, outbox=True, key="k" * 256)
            with pytest.raises(ConfigurationError, match="no confirm and no timeout"):
                send("/queue/a", 1, outbox=True, timeout=1)
            with pytest.raises(ConfigurationError, match="exclude each other"):
                send("/queue/a", 1, outbox=True, on_commit=True)
            with pytest.raises(ConfigurationError, match="key is for messages in the outbox"):
                send("/queue/a", 1, key="k")
        assert not OutboxMessage.objects.exists()
        assert payloads() == []

    def test_without_its_table_it_is_refused_as_the_relay_refuses_it(self):
        with (
            without_table("stomp_web_outbox"),
            pytest.raises(
                ConfigurationError, match=r"no stomp_web_outbox in the database 'default': run `manage\.py mig"
            ),
            transaction.atomic(),
        ):
            send("/queue/a", 1, outbox=True)

    def test_the_settings_may_make_it_the_default(self):
        with override_settings(STOMP={"default": {**MEMORY, "OUTBOX": {"default": True}}}):
            with transaction.atomic():
                send("/queue/a", 1)
                send("/queue/a", 2, outbox=False)
                send("/queue/a", 3, on_commit=True)
            assert payloads() == [2, 3]
        assert OutboxMessage.objects.count() == 1

    def test_inline_the_process_that_commits_sends(self):
        with override_settings(STOMP={"default": {**MEMORY, "OUTBOX": {"relay": "inline", "keep": 1}}}):
            with transaction.atomic():
                send("/queue/a", 1, outbox=True)
                with undone():
                    send("/queue/a", 2, outbox=True)
                send("/queue/a", 3, outbox=True)
                assert payloads() == []
            assert payloads() == [1, 3]
        assert list(OutboxMessage.objects.values_list("state", flat=True)) == ["sent", "sent"]

    @pytest.mark.parametrize("fails", ["a statement", "a block without a savepoint"])
    def test_a_receiver_whose_transaction_fails_does_not_undo_what_the_relay_has_sent(self, fails, monkeypatch, caplog):
        def receive(**_: object) -> None:
            Order.objects.create(item="book")
            if fails == "a statement":
                with connection.cursor() as cursor:
                    cursor.execute("SELECT no_column FROM stomp_web_outbox")
            with transaction.atomic(savepoint=False):  # as in `Model.save`
                raise IntegrityError

        with transaction.atomic():
            send("/queue/a", 1, outbox=True)
        relay = relay_in_one_transaction(monkeypatch)
        with override_settings(STOMP={"default": MEMORY}), received_by(receive):
            assert relay.run(once=True) == 0
            assert len(publisher.outbox) == 1
        assert not OutboxMessage.objects.exists()
        assert Order.objects.exists() == ("were rolled back" not in caplog.text)

    def test_what_a_receiver_writes_is_committed(self, monkeypatch):
        def receive(**_: object) -> None:
            Order.objects.create(item="book")

        with transaction.atomic():
            send("/queue/a", 1, outbox=True)
        relay = relay_in_one_transaction(monkeypatch)
        with override_settings(STOMP={"default": MEMORY}), received_by(receive):
            assert relay.run(once=True) == 0
        assert Order.objects.count() == 1

    def test_from_a_coroutine_it_is_refused_with_advice(self):
        async def view() -> None:
            send("/queue/a", 1, outbox=True)

        with pytest.raises(Exception, match="Use: await asend"):
            asyncio.run(view())

    def test_asend_needs_a_transaction_as_well(self):
        with pytest.raises(ConfigurationError, match="outside of a transaction"):
            asyncio.run(asend("/queue/a", 1, outbox=True))

    def test_without_the_app_it_is_refused_and_nothing_of_it_is_imported(self):
        script = (
            "import django, sys\n"
            "from django.conf import settings\n"
            "settings.configure(INSTALLED_APPS=['stomp_web.django'], STOMP={'default': {'OPTIONS': {'url': 'memory://'}}})\n"
            "django.setup()\n"
            "from stomp_web.django import send\n"
            "send('/queue/a', 1)\n"
            "try:\n"
            "    send('/queue/a', 1, outbox=True)\n"
            "except ValueError as error:\n"
            "    print(error)\n"
            "print([name for name in sys.modules if 'outbox' in name])\n"
        )
        output = run_python("-c", script).stdout
        assert "add 'stomp_web.django.outbox' to INSTALLED_APPS" in output
        assert output.strip().endswith("[]")


class TestRows:
    def test_a_row_holds_whatever_a_message_can(self):
        body, text = bytes(range(256)) * 1000, "\U0001f4e6 B\u00fccher"
        with override_settings(STOMP={"default": MEMORY}):
            with transaction.atomic():
                send(f"/queue/{text}", body, {text: text}, outbox=True, key=text, serializer="bytes")
            assert make_relay("default").run(once=True) == 0
            (sent,) = publisher.outbox
        assert (sent.destination, sent.payload, sent.headers[text]) == (f"/queue/{text}", body, text)

    def test_a_key_may_have_any_characters(self):
        with override_settings(STOMP={"default": MEMORY}):
            for key in ("'", '"', "\\", "{a,b}", "NULL", " ", "%s", ":a"):
                with transaction.atomic():
                    send("/queue/a", [key, 1], outbox=True, key=key)
                    send("/queue/a", [key, 2], outbox=True, key=key)
            for row in OutboxMessage.objects.order_by("id")[1::2]:
                OutboxMessage.objects.filter(id=row.id).update(state="waiting")  # as if the first had been tried before
            assert make_relay("default").run(once=True) == 0
            assert [number for _, number in payloads()] == [1] * 8 + [2] * 8

    def test_rows_behind_many_that_wait_are_held_as_well(self, monkeypatch):
        monkeypatch.setattr("stomp_web.outbox.store._MOST_OTHERS", 2)
        with override_settings(STOMP={"default": MEMORY}):
            OutboxMessage.objects.create(**columns("failed", 1), key="k")
            for number in range(2, 9):
                OutboxMessage.objects.create(**columns("waiting", number), key="k")
            OutboxMessage.objects.create(**columns("pending", 9), key="k")
            OutboxMessage.objects.create(**columns("pending", 10), key="l")
            assert make_relay("default").run(once=True) == 1
            assert [message.id for message in publisher.outbox] == ["m10"]
        assert list(OutboxMessage.objects.order_by("id").values_list("state", flat=True)) == [
            "failed",
            *["waiting"] * 8,
        ]

    def test_large_bodies_are_claimed_one_by_one(self, monkeypatch):
        monkeypatch.setattr("stomp_web.outbox.store._MOST_BYTES", 100)
        large = ["a" * 60, "b" * 60, "c" * 200]
        with override_settings(STOMP={"default": MEMORY}):
            with transaction.atomic():
                for payload in (*large, 1):
                    send("/queue/a", payload, outbox=True, key="k", ttl=60)
            with DjangoStore("default").claim(10) as claim:
                assert [row.body for row in claim.rows] == [b'"%b"' % large[0].encode()]
            assert make_relay("default", batch=10).run(once=True) == 0
            assert payloads() == [*large, 1]

    def test_the_moment_of_a_row_has_microseconds(self):
        before = timezone.now()
        with transaction.atomic():
            send("/queue/a", 1, outbox=True)
        assert before <= OutboxMessage.objects.get().created_at <= timezone.now()

    def test_keys_that_differ_in_case_or_accents_do_not_wait_for_each_other(self):
        with override_settings(STOMP={"default": MEMORY}):
            with transaction.atomic():
                for key in ("order-a", "order-A", "\u00f6rder-a"):
                    send("/queue/a", key, outbox=True, key=key)
            OutboxMessage.objects.filter(key="order-a").update(headers="no JSON")
            assert make_relay("default").run(once=True) == 1
            assert payloads() == ["order-A", "\u00f6rder-a"]
            with transaction.atomic():
                send("/queue/a", "the next", outbox=True, key="order-A")
            assert make_relay("default").run(once=True) == 1
            assert payloads() == ["order-A", "\u00f6rder-a", "the next"]


class TestInATestCase(TestCase):
    def test_the_row_is_there_and_goes_with_the_test(self):
        send("/queue/a", 1, outbox=True)
        assert OutboxMessage.objects.count() == 1


class TestWithCapturedMessages(TestCase):
    def test_a_message_in_the_outbox_is_seen_as_sent(self):
        with (
            capture_messages() as messages,
            override_settings(STOMP={"default": {**MEMORY, "OUTBOX": {"relay": "inline"}}}),
        ):
            identity = send("/queue/a", {"id": 7}, outbox=True, key="7")
            with self.captureOnCommitCallbacks(execute=True):
                send("/queue/a", {"id": 8}, outbox=True, key="8")
        assert [message.payload for message in messages] == [{"id": 7}, {"id": 8}]
        assert messages[0].id == identity


class TestCommands:
    def test_status_retry_discard_and_purge(self):
        OutboxMessage.objects.create(**columns("failed", 1))
        OutboxMessage.objects.create(**columns("pending", 2))
        assert "1 pending, 0 waiting, 1 failed, 0 sent" in run("stomp_outbox", "status")
        assert run("stomp_outbox", "retry") == "1 messages will be sent again\n"
        assert "2 pending, 0 waiting, 0 failed" in run("stomp_outbox", "status")
        OutboxMessage.objects.update(state="failed")
        first = OutboxMessage.objects.values_list("id", flat=True)[0]
        assert run("stomp_outbox", "discard", str(first)) == "1 messages were deleted, and will not be sent\n"
        assert run("stomp_outbox", "discard") == "1 messages were deleted, and will not be sent\n"
        OutboxMessage.objects.create(**columns("sent", 3), next_attempt_at=timezone.now())
        assert run("stomp_outbox", "purge", "--days", "1") == "0 sent messages were deleted\n"
        assert run("stomp_outbox", "purge") == "1 sent messages were deleted\n"

    def test_ids_may_stand_before_and_after_the_options(self):
        with transaction.atomic():
            for number in (1, 2):
                send("/queue/a", number, outbox=True)
        first, second = (str(id_) for id_ in OutboxMessage.objects.order_by("id").values_list("id", flat=True))
        assert "2 messages were deleted" in run("stomp_outbox", "discard", first, "--database", "default", second)

    def test_the_relay_sends_and_fails_rows_that_nobody_can_read(self, broker_settings):
        OutboxMessage.objects.create(**columns("pending", 1))
        OutboxMessage.objects.create(**{**columns("pending", 2), "alias": "gone"})
        assert relay() == 1
        assert len(broker_settings.messages("/queue/a")) == 1
        row = OutboxMessage.objects.get()
        assert row.state == "failed"
        assert "no publisher 'gone'" in row.last_error

    def test_a_table_that_is_not_there_gets_a_sentence(self, broker_settings):
        with (
            without_table("stomp_web_outbox"),
            pytest.raises(CommandError, match=r"run `manage\.py migrate stomp_web_outbox"),
        ):
            run("stomp_relay", "--once")

    def test_the_models_have_their_migration(self):
        call_command("makemigrations", "stomp_web_outbox", "--check", "--dry-run", stdout=io.StringIO())


@pytest.mark.parametrize(
    "bad",
    [
        {"relay": "now"},
        {"relay": []},
        {"keep": -1},
        {"database": "none"},
        {"poll": 0},
        {"batch": 0},
        {"default": "yes"},
        {"keeep": 1},
    ],
)
def test_bad_settings_are_errors(bad):
    with override_settings(STOMP={"default": {**MEMORY, "OUTBOX": bad}}):
        (found,) = run_checks(tags=["stomp_web"])
    assert found.id == "stomp_web.E003"
    assert next(iter(bad)) in found.msg


def test_an_outbox_by_default_without_a_transaction_for_each_request_is_a_warning():
    with override_settings(STOMP={"default": {**MEMORY, "OUTBOX": {"default": True}}}):
        assert [message.id for message in run_checks(tags=["stomp_web"])] == ["stomp_web.W005"]


def test_a_database_of_sqlite_without_the_options_for_several_programs_is_a_warning(monkeypatch, tmp_path):
    entry = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "shop.sqlite3")}
    monkeypatch.setattr(checks, "connections", ConnectionHandler({"default": entry}))
    with override_settings(STOMP={"default": MEMORY, "audit": MEMORY}):
        (found,) = run_checks(tags=["stomp_web"])
    assert found.id == "stomp_web.W006"
    assert "settings.DATABASES['default'] is SQLite, and its OPTIONS lack 'timeout': 20 and" in found.msg
    assert list(tmp_path.iterdir()) == []  # it opened nothing


def test_the_outbox_without_the_app_it_belongs_to_is_a_warning():
    with override_settings(STOMP={"default": MEMORY}), modify_settings(INSTALLED_APPS={"remove": "stomp_web.django"}):
        (found,) = run_checks(tags=["stomp_web"])
    assert found.id == "stomp_web.W007"


class TestWithoutTheApp:
    @pytest.fixture(autouse=True)
    def not_installed(self) -> Iterator[None]:
        with modify_settings(INSTALLED_APPS={"remove": "stomp_web.django.outbox"}):
            yield

    def check(self) -> list[str]:
        return [message.msg for message in check_outbox_app() if message.id == "stomp_web.E004"]

    def test_settings_of_the_outbox_are_an_error(self):
        with override_settings(STOMP={"default": {**MEMORY, "OUTBOX": {"default": True}}}):
            (found,) = self.check()
        assert found.startswith("settings.STOMP['default'] has OUTBOX, and 'stomp_web.django.outbox' is not in")

    def test_a_handler_that_handles_once_is_an_error(self, monkeypatch):
        handlers = Handlers()
        handlers.subscribe("/queue/a", once=True)(print)
        handlers.subscribe("/queue/b")(print)
        monkeypatch.setitem(handlers_by_alias, "spare", handlers)
        with override_settings(STOMP={"default": MEMORY}):
            (found,) = self.check()
        assert found.startswith("the handler builtins.print has once=True, and")

    def test_who_uses_neither_has_no_error(self):
        with override_settings(STOMP={"default": MEMORY}):
            assert self.check() == []


class TestSeveralDatabases:
    def test_an_outbox_that_the_relay_does_not_serve_is_a_warning_at_deployment(self):
        assert found(audit={"database": "archive"}) == []
        (warning,) = found(audit={"database": "archive"}, deploy=True)
        assert warning.id == "stomp_web.W008"
        assert "['audit']['OUTBOX'] writes to 'archive'" in warning.msg
        assert "stomp_relay serves 'default'" in warning.msg
        assert "manage.py stomp_relay --using audit" in str(warning.hint)

    def test_outboxes_in_one_database_are_served_by_one_relay(self):
        assert found(default={"database": "archive"}, audit={"database": "archive"}, deploy=True) == []
        assert found(default={}, audit={"keep": 7}, deploy=True) == []
        assert found(default={"database": "archive"}, deploy=True) == []

    def test_an_outbox_in_a_database_without_its_table_is_an_error(self):
        with override_settings(DATABASE_ROUTERS=["tests.django.test_outbox.OnlyInArchive"]):
            (error,) = found(default={"keep": 7})
            assert found(default={"database": "archive"}) == []
        assert error.id == "stomp_web.E005"
        assert "['default']['OUTBOX'] writes to 'default'" in error.msg

    def test_the_status_tells_that_no_relay_takes_the_messages(self):
        hint = "check that a relay runs for this database"
        OutboxMessage.objects.create(**columns("failed", 1) | {"created_at": timezone.now() - timedelta(hours=1)})
        OutboxMessage.objects.create(**columns("pending", 2))
        assert hint not in run("stomp_outbox", "status")
        OutboxMessage.objects.create(**columns("pending", 0) | {"created_at": timezone.now() - timedelta(hours=1)})
        OutboxMessage.objects.filter(message_id="m2").delete()
        assert hint in run("stomp_outbox", "status")


class OnlyInArchive:
    """A router that allows the tables of the outbox in one database only."""

    def allow_migrate(self, database: str, label: str, **_: object) -> bool | None:
        return database == "archive" if label == "stomp_web_outbox" else None


def found(*, deploy: bool = False, **outboxes: dict[str, object]) -> list[CheckMessage]:
    """What the checks of the outbox find if these aliases have these outboxes."""
    options = {"OPTIONS": {"url": "stomp://localhost"}}
    aliases = {alias: {**options, "OUTBOX": outbox} for alias, outbox in ({"default": {}} | outboxes).items()}
    with override_settings(STOMP=aliases):
        return run_checks(tags=["stomp_web"], include_deployment_checks=deploy)


class TestInbox:
    def test_a_copy_is_not_handled_again(self):
        inbox = DjangoInbox("default")
        inbox.run("shop.store", "m1", store, message("one"))
        inbox.run("shop.store", "m1", store, message("one"))
        assert list(Order.objects.values_list("item", flat=True)) == ["one"]

    def test_a_handler_that_fails_is_tried_again(self):
        def fail(received: ReceivedMessage) -> None:
            store(received)
            raise ZeroDivisionError

        inbox = DjangoInbox("default")
        with pytest.raises(ZeroDivisionError):
            inbox.run("shop.store", "m1", fail, message("one"))
        assert not Order.objects.exists()
        inbox.run("shop.store", "m1", store, message("one"))
        assert Order.objects.count() == 1

    def test_without_its_table_a_worker_does_not_start(self, broker_settings):
        handlers = Handlers()
        handlers.subscribe("/queue/a", once=True)(store)
        with (
            without_table("stomp_web_inbox"),
            pytest.raises(
                ConfigurationError, match=r"no stomp_web_inbox in the database 'default': run `manage\.py mig"
            ),
        ):
            make_worker("default", publishers["default"].options, handlers).run()

    def test_a_fault_of_the_database_is_no_fault_of_the_message(self):
        inbox = DjangoInbox("default")
        with without_table("stomp_web_inbox"), pytest.raises(InboxUnavailable, match="the inbox in the database"):
            inbox.run("shop.store", "m1", store, message("one"))
        inbox.run("shop.store", "m1", store, message("one"))
        assert Order.objects.count() == 1

    def test_a_handler_with_two_arguments_is_refused_at_once(self):
        with pytest.raises(ConfigurationError, match="cannot be called with the message"):
            subscribe("/queue/orders", using="other", once=True)(lambda message, session: None)

    def test_the_worker_of_such_handlers_has_one(self, broker_settings):
        handlers = Handlers()
        handlers.subscribe("/queue/a", once=True)(store)
        worker = make_worker("default", publishers["default"].options, handlers)
        worker.handlers.check("/queue/DLQ", (), 1)
        assert worker._inbox is not None


class TestAdmin:
    def test_it_shows_rows_and_has_the_operators_actions(self):
        done = run_python("-m", "tests.django.admin_site")
        assert done.returncode == 0, done.stdout
        assert done.stdout == "retried and discarded\n"


@contextlib.contextmanager
def without_table(name: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO elsewhere")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE elsewhere RENAME TO {name}")


def store(received: ReceivedMessage) -> None:
    Order.objects.create(item=received.payload)


def message(payload: str) -> ReceivedMessage:
    return ReceivedMessage(payload, b"", {}, "/queue/a", "m", False, 0)


def columns(state: str, number: int) -> dict[str, object]:
    return {
        "message_id": f"m{number}",
        "destination": "/queue/a",
        "headers": "{}",
        "content_type": "application/json",
        "body": b"1",
        "alias": "default",
        "created_at": timezone.now(),
        "state": state,
    }
