"""Alembic's environment; the catalog hands its connection over."""

from alembic import context

from imarium.catalog import (  # noqa: F401 - so that all are known
    audit_tables,
    erasure_tables,
    people,
    quarantine_tables,
    search_tables,
)
from imarium.catalog.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
