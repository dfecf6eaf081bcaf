"""A table with a policy, filled by a block."""

from django.db import migrations, models

POLICY = """
ALTER TABLE labels ENABLE ROW LEVEL SECURITY;
ALTER TABLE labels FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON labels USING (org_id = org());
DO $$ BEGIN
    INSERT INTO labels (org_id, name) SELECT DISTINCT org_id, 'of ' || org_id FROM notes;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("django_shop", "0002_index")]

    operations = [
        migrations.CreateModel(
            "Label",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("org_id", models.UUIDField(db_default=models.Func(function="org"))),
                ("name", models.TextField()),
            ],
            options={"db_table": "labels"},
        ),
        migrations.RunSQL(POLICY, "DROP POLICY tenant ON labels"),
    ]
