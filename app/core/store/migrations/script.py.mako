"""${message}."""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Add only: the release before this one goes on working on the same database."""
    ${upgrades if upgrades else "pass"}
