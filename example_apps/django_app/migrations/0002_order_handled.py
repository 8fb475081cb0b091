from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("orders", "0001_initial")]

    operations: ClassVar[list[migrations.operations.base.Operation]] = [
        migrations.AddField("order", "handled_at", models.DateTimeField(editable=False, null=True)),
        migrations.AddField("order", "booked_at", models.DateTimeField(editable=False, null=True)),
    ]
