"""A column with a value in every tenant's rows, filled by Python in between."""

import django.db.models.functions
from django.db import migrations, models


def fill(apps, schema_editor):
    note = apps.get_model("django_shop", "Note")
    note.objects.using(schema_editor.connection.alias).update(title=django.db.models.functions.Upper("body"))


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    "Note",
                    [
                        ("id", models.BigAutoField(primary_key=True)),
                        ("org_id", models.UUIDField(db_default=models.Func(function="org"))),
                        ("body", models.TextField()),
                    ],
                    options={"db_table": "notes"},
                )
            ]
        ),
        migrations.AddField("note", "title", models.TextField(null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField("note", "title", models.TextField(default="", db_default="")),
    ]
