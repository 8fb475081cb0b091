from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import migrations, models

from example_apps.django_app.models import new_message_id


class Migration(migrations.Migration):
    initial = True

    dependencies: ClassVar[list[tuple[str, str]]] = []

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("customer", models.CharField(max_length=80, verbose_name="your name")),
                ("item", models.CharField(max_length=80)),
                (
                    "quantity",
                    models.PositiveSmallIntegerField(
                        default=1, validators=[MinValueValidator(1), MaxValueValidator(99)], verbose_name="how many?"
                    ),
                ),
                ("placed_at", models.DateTimeField(auto_now_add=True)),
                ("message_id", models.CharField(default=new_message_id, editable=False, max_length=32)),
                ("state", models.CharField(default="waiting", editable=False, max_length=20)),
                ("detail", models.TextField(default="", editable=False)),
                ("milliseconds", models.FloatField(editable=False, null=True)),
            ],
            options={"ordering": ("-id",)},
        )
    ]
