"""The tables of conversations, responses, threads, leases, upstreams, budgets, feedback and usage."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("replayed_from", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text),
        sa.Column("expires_at", sa.Double, nullable=False, server_default="0"),
        sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "items",
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("output_index", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("origin", sa.Text),
        sa.UniqueConstraint("response", "output_index", name="items_once"),
        sa.UniqueConstraint("conversation_id", "id", name="items_by_id"),
    )
    op.create_table(
        "responses",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("is_live", sa.Boolean, nullable=False),
        sa.Column("is_stored", sa.Boolean, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("deadline", sa.Double, nullable=False),
        sa.Column("is_cancelled", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("responses_by_conversation", "responses", ["conversation_id", "is_live"])
    op.create_table(
        "threads",
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("active_at", sa.BigInteger, nullable=False),
    )
    op.create_index("threads_by_activity", "threads", ["owner", "active_at", "conversation_id"])
    op.create_index("threads_by_age", "threads", ["active_at", "conversation_id"])
    op.create_table(
        "feedback",
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("is_message", sa.Boolean, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("feedback_by_owner", "feedback", ["owner"])
    op.create_index("feedback_by_time", "feedback", ["created_at"])
    op.create_table(
        "usage",
        sa.Column("response_id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text),
        sa.Column("user_hash", sa.Text),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("began_at", sa.Double, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("first_text_ms", sa.Integer),
        sa.Column("total_ms", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.Double),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("trace", sa.Text),
    )
    op.create_index("usage_by_day", "usage", ["day"])
    op.create_index("usage_by_conversation", "usage", ["conversation_id"])
    op.create_index("usage_by_user", "usage", ["user_hash"])
    op.create_table(
        "upstreams",
        sa.Column("url", sa.Text, primary_key=True),
        sa.Column("has_conversations", sa.Boolean),
        sa.Column("stores_responses", sa.Boolean),
    )
    op.create_table(
        "budgets",
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("nanos", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("held_tokens", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("held_nanos", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("told", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "budgeted_turns",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("accounts", sa.Text, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("nanos", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("is_held", sa.Boolean, nullable=False),
    )
    op.create_index("budgeted_turns_by_expiry", "budgeted_turns", ["is_held", "expires_at"])
    op.create_table(
        "thread_sizes",
        sa.Column("conversation_id", sa.Text, primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("noted_at", sa.Double, nullable=False),
    )
    op.create_index("thread_sizes_by_age", "thread_sizes", ["noted_at"])
