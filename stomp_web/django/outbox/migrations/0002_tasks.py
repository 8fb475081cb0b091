"""The table of tasks and their results."""

import importlib

from django.db import migrations, models

_ON_MYSQL = importlib.import_module("stomp_web.django.outbox.migrations.0001_initial").OnMySQL


class Migration(migrations.Migration):
    """Creates the table of tasks."""

    dependencies = (("stomp_web_outbox", "0001_initial"),)

    operations = (
        migrations.CreateModel(
            name="TaskRecord",
            fields=[
                ("id", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("backend", models.TextField()),
                ("task", models.TextField()),
                ("queue", models.TextField()),
                ("priority", models.SmallIntegerField()),
                ("run_after", models.DateTimeField(blank=True, null=True)),
                ("args", models.TextField()),
                ("kwargs", models.TextField()),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("READY", "READY"),
                            ("RUNNING", "RUNNING"),
                            ("FAILED", "FAILED"),
                            ("SUCCESSFUL", "SUCCESSFUL"),
                        ],
                        default="READY",
                        max_length=10,
                    ),
                ),
                ("enqueued_at", models.DateTimeField(blank=True, null=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("last_attempted_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("return_value", models.TextField(default="null")),
                ("errors", models.TextField(default="[]")),
                ("worker_ids", models.TextField(default="[]")),
            ],
            options={
                "verbose_name": "task",
                "db_table": "stomp_web_task",
                "indexes": [
                    models.Index(fields=["enqueued_at"], name="stomp_web_task_enqueued_at"),
                    models.Index(fields=["finished_at"], name="stomp_web_task_finished_at"),
                ],
            },
        ),
        # As for the other tables: any character, and ids that differ only in case are different ids.
        _ON_MYSQL(
            "ALTER TABLE stomp_web_task CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            reverse_sql=migrations.RunSQL.noop,
            hints={"model_name": "taskrecord"},
        ),
    )
