"""Run by django_migrations.py."""
