"""Run by Alembic for each command; `app/core/store/schema.py` hands it the open connection."""

from alembic import context

from app.core.store.schema import VERSION_TABLE
from app.core.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
context.run_migrations()
