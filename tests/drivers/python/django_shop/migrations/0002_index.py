"""An index that is made outside of a transaction."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("django_shop", "0001_title")]
    operations = [AddIndexConcurrently("note", models.Index(fields=["title"], name="notes_title"))]
