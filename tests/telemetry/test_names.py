"""The names of attributes, metrics and values are those of the semantic conventions, from their own package."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the tests of telemetry need: pip install opentelemetry-sdk")
pytest.importorskip("opentelemetry.semconv.schemas", reason="needs: pip install opentelemetry-semantic-conventions")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas

from stomp_web.telemetry import attributes as own
from stomp_web.telemetry.meters import meters_of

#: Our constant, and the one of the conventions.
SAME = {
    "SYSTEM": messaging_attributes.MESSAGING_SYSTEM,
    "OPERATION_NAME": messaging_attributes.MESSAGING_OPERATION_NAME,
    "OPERATION_TYPE": messaging_attributes.MESSAGING_OPERATION_TYPE,
    "DESTINATION_NAME": messaging_attributes.MESSAGING_DESTINATION_NAME,
    "DESTINATION_TEMPLATE": messaging_attributes.MESSAGING_DESTINATION_TEMPLATE,
    "DESTINATION_TEMPORARY": messaging_attributes.MESSAGING_DESTINATION_TEMPORARY,
    "BATCH_COUNT": messaging_attributes.MESSAGING_BATCH_MESSAGE_COUNT,
    "MESSAGE_ID": messaging_attributes.MESSAGING_MESSAGE_ID,
    "CONVERSATION_ID": messaging_attributes.MESSAGING_MESSAGE_CONVERSATION_ID,
    "SERVER_ADDRESS": server_attributes.SERVER_ADDRESS,
    "SERVER_PORT": server_attributes.SERVER_PORT,
    "ERROR_TYPE": error_attributes.ERROR_TYPE,
    "OPERATION_DURATION": messaging_metrics.MESSAGING_CLIENT_OPERATION_DURATION,
    "SENT_MESSAGES": messaging_metrics.MESSAGING_CLIENT_SENT_MESSAGES,
    "CONSUMED_MESSAGES": messaging_metrics.MESSAGING_CLIENT_CONSUMED_MESSAGES,
    "PROCESS_DURATION": messaging_metrics.MESSAGING_PROCESS_DURATION,
}
NAMES = {name: value for name, value in vars(own).items() if name.isupper() and isinstance(value, str)}


@pytest.mark.parametrize("name", SAME)
def test_a_name_is_the_one_of_the_conventions(name):
    assert NAMES[name] == SAME[name]


def test_every_name_of_ours_is_there_or_begins_with_the_package():
    others = {name for name, value in NAMES.items() if not value.startswith("stomp_web.")}
    assert others == {*SAME, "SCHEMA_URL"}


def test_the_schema_is_one_that_is_published():
    assert own.SCHEMA_URL in {schema.value for schema in Schemas}


def test_the_systems_are_well_known_but_for_the_protocol_itself():
    known = {value.value for value in messaging_attributes.MessagingSystemValues}
    assert {own.system_of("RabbitMQ/4.3.6"), own.system_of("ActiveMQ/6.3")} <= known
    assert own.system_of(None) == "stomp"


@pytest.mark.parametrize("operation", ["create", "send", "process"])
def test_the_operations_are_known(operation):
    assert operation in {value.value for value in messaging_attributes.MessagingOperationTypeValues}


def test_metrics_have_the_units_and_kinds_of_the_conventions():
    def kinds(make):
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader])
        make(provider)
        data = reader.get_metrics_data()
        metrics = [metric for scope in data.resource_metrics[0].scope_metrics for metric in scope.metrics]
        provider.shutdown()
        return {
            metric.name: (metric.unit, type(metric.data).__name__) for metric in metrics if "messaging." in metric.name
        }

    def theirs(provider):
        meter = provider.get_meter("theirs")
        messaging_metrics.create_messaging_client_operation_duration(meter).record(1)
        messaging_metrics.create_messaging_process_duration(meter).record(1)
        messaging_metrics.create_messaging_client_sent_messages(meter).add(1)
        messaging_metrics.create_messaging_client_consumed_messages(meter).add(1)

    def ours(provider):
        meters = meters_of(provider)
        meters.operation_duration.record(1)
        meters.process_duration.record(1)
        meters.sent.add(1)
        meters.consumed.add(1)

    assert kinds(ours) == kinds(theirs)
