"""Alembic's entry into the migrations of this service."""

from cpro_platform.migrations import run_environment

run_environment()
