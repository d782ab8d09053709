"""Entries, leaves, full tiles and checkpoints can be appended to and nothing else, on both databases."""

from typing import Any

from django.db import migrations

from auditlog import triggers


def install(apps: Any, schema_editor: Any) -> None:
    triggers.install(schema_editor.connection)


def remove(apps: Any, schema_editor: Any) -> None:
    triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("auditlog", "0001_initial")]
    operations = [migrations.RunPython(install, remove)]
