"""Alembic's environment; the catalog hands its connection over."""

from alembic import context

from imarium.catalog import audit_tables, erasure_tables  # noqa: F401 - so that their tables are known
from imarium.catalog.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
