"""The tables of the outbox and the inbox."""

import typing

from django.db import migrations, models


class OnMySQL(migrations.RunSQL):
    """A migration operation that applies its SQL only on MariaDB and MySQL."""

    def database_forwards(self, app_label: str, schema_editor: typing.Any, *states: typing.Any) -> None:
        """Execute the SQL on MariaDB and MySQL. On another database, do nothing."""
        if schema_editor.connection.vendor == "mysql":
            super().database_forwards(app_label, schema_editor, *states)


class Migration(migrations.Migration):
    """Creates the tables of the inbox and the outbox."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="InboxMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("handler", models.CharField(max_length=255)),
                ("message_id", models.CharField(max_length=255)),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "handled message",
                "db_table": "stomp_web_inbox",
                "indexes": [models.Index(fields=["created_at"], name="stomp_web_inbox_created_at")],
                "constraints": [
                    models.UniqueConstraint(fields=("handler", "message_id"), name="stomp_web_inbox_message")
                ],
            },
        ),
        migrations.CreateModel(
            name="OutboxMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("message_id", models.CharField(max_length=255)),
                ("destination", models.CharField(max_length=1024)),
                ("headers", models.TextField()),
                ("content_type", models.CharField(blank=True, max_length=255, null=True)),
                ("body", models.BinaryField()),
                ("key", models.CharField(blank=True, max_length=255, null=True)),
                ("alias", models.CharField(max_length=64)),
                ("ttl", models.FloatField(blank=True, null=True)),
                ("created_at", models.DateTimeField()),
                ("attempts", models.IntegerField(db_default=0, default=0)),
                ("next_attempt_at", models.DateTimeField(blank=True, null=True)),
                ("last_error", models.TextField(blank=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("waiting", "waiting"),
                            ("failed", "failed"),
                            ("sent", "sent"),
                        ],
                        default="pending",
                        max_length=8,
                    ),
                ),
            ],
            options={
                "verbose_name": "message to send",
                "verbose_name_plural": "messages to send",
                "db_table": "stomp_web_outbox",
                "indexes": [
                    models.Index(fields=["state", "next_attempt_at", "id"], name="stomp_web_outbox_state"),
                    models.Index(fields=["key", "state", "id"], name="stomp_web_outbox_key"),
                ],
            },
        ),
        # With this SQL, MariaDB and MySQL store any character, and keys that differ only in case are different keys.
        *(
            OnMySQL(
                f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                reverse_sql=migrations.RunSQL.noop,
                hints={"model_name": model},
            )
            for table, model in (("stomp_web_inbox", "inboxmessage"), ("stomp_web_outbox", "outboxmessage"))
        ),
    )
