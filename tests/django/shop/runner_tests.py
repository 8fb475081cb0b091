"""What `manage.py test` runs, in a process of its own. See tests/django/test_runner.py."""

# ruff: noqa: PT009, PT027 - no pytest here

from __future__ import annotations

from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings

from stomp_web import PoolClosed
from stomp_web.broker import Broker
from stomp_web.django import publisher, send
from stomp_web.django.test import capture_messages
from tests.django.shop.models import Order


class Capturing(TestCase):
    def test_the_message_goes_out_when_the_transaction_commits(self):
        with capture_messages() as messages, self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post("/orders", "tea", content_type="text/plain")
            self.assertEqual(messages, [])

        self.assertEqual(messages[0].payload, {"id": Order.objects.get().pk, "item": "tea"})
        self.assertEqual(answer.content.decode(), messages[0].id)

    @capture_messages(kwarg_name="messages")
    def test_a_decorated_test_gets_the_messages(self, messages):
        send("/queue/a", 1)
        self.assertEqual([message.payload for message in messages], [1])


@capture_messages(attr_name="messages")
class CapturingForAllTests(SimpleTestCase):
    def test_one(self):
        send("/queue/a", 1)
        self.assertEqual([message.payload for message in self.messages], [1])

    def test_another(self):
        send("/queue/a", 2)
        self.assertEqual([message.payload for message in self.messages], [2])


class Committing(TransactionTestCase):
    def test_an_order_that_was_stored_is_told_to_the_broker(self):
        with Broker() as broker, override_settings(STOMP={"default": {"OPTIONS": {"url": broker.url}}}):
            self.client.post("/orders", "tea", content_type="text/plain")
            self.assertEqual(len(broker.messages("/queue/orders")), Order.objects.count())

    def test_an_order_that_was_not_stored_is_not(self):
        with Broker() as broker, override_settings(STOMP={"default": {"OPTIONS": {"url": broker.url}}}):
            with self.assertRaises(ValueError):
                self.client.post("/orders", "coffee", content_type="text/plain")
            self.assertEqual((broker.messages("/queue/orders"), Order.objects.count()), ([], 0))


class Overriding(SimpleTestCase):
    def test_settings_of_a_block_hold_for_the_block_and_are_closed_after_it(self):
        outer = publisher.outbox
        with Broker() as broker:
            with self.settings(STOMP={"default": {"OPTIONS": {"url": broker.url}}}):
                send("/queue/a", 1)
                send_inside = publisher.send
            self.assertTrue(broker.wait_until(lambda: broker.sessions == 0))
            with self.assertRaises(PoolClosed):
                send_inside("/queue/a", 2)
        send("/queue/a", 3)
        self.assertIsNot(publisher.outbox, outer)
        self.assertEqual([message.payload for message in publisher.outbox], [3])
