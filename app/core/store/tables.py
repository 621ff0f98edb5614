"""The tables of the store. `migrations/` brings a database to this state."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

METADATA = MetaData()

CONVERSATIONS = Table(
    "conversations",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("metadata", Text, nullable=False),
    # Earlier items are kept, but the model's window has no room for them.
    Column("replayed_from", Integer, nullable=False, server_default="0"),
)

LEASES = Table(
    "leases",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("owner", Text),
    Column("expires_at", Double, nullable=False, server_default="0"),
    # Grows with every owner, so that a writer that lost its lease can tell.
    Column("fence", BigInteger, nullable=False, server_default="0"),
)

ITEMS = Table(
    "items",
    METADATA,
    Column("conversation_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    # The response, or the request to add items, that wrote it; a response's input has indexes below 0.
    Column("response", Text, nullable=False),
    Column("output_index", Integer, nullable=False),
    Column("body", Text, nullable=False),
    # Which model at which address wrote it, for reasoning that no other can read.
    Column("origin", Text),
    UniqueConstraint("response", "output_index", name="items_once"),
    UniqueConstraint("conversation_id", "id", name="items_by_id"),
)

RESPONSES = Table(
    "responses",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("conversation_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("is_live", Boolean, nullable=False),
    # Whether the upstream knows the response too; then it is asked for its state.
    Column("is_stored", Boolean, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("deadline", Double, nullable=False),
    Column("is_cancelled", Boolean, nullable=False, server_default=false()),
    # What the turn adds to the conversation when it ends, until then.
    Column("input", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("responses_by_conversation", "conversation_id", "is_live"),
)

THREADS = Table(
    "threads",
    METADATA,
    Column("conversation_id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("title", Text),
    Column("metadata", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Microseconds, so that threads with activity in the same second keep their order.
    Column("active_at", BigInteger, nullable=False),
    Index("threads_by_activity", "owner", "active_at", "conversation_id"),
    Index("threads_by_age", "active_at", "conversation_id"),
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("conversation_id", Text, primary_key=True),
    # The response or the message's item that is rated, by its upstream id.
    Column("target", Text, primary_key=True),
    Column("owner", Text, primary_key=True),
    Column("is_message", Boolean, nullable=False),
    # The first response of the run that wrote it; null where that is not known.
    Column("run_id", Text),
    Column("value", Text, nullable=False),
    Column("comment", Text),
    Column("created_at", BigInteger, nullable=False),
    Index("feedback_by_owner", "owner"),
    Index("feedback_by_time", "created_at"),
)

USAGE = Table(
    "usage",
    METADATA,
    # One row a response: a run with calls of tools has several, one that failed to start a made-up id.
    Column("response_id", Text, primary_key=True),
    # The first response of the run.
    Column("run_id", Text, nullable=False),
    # Null after the thread was deleted, and where it is not known.
    Column("conversation_id", Text),
    # A keyed hash of the owner; null after the user was erased, and where callers are not told apart.
    Column("user_hash", Text),
    Column("model", Text, nullable=False),
    # When it began, in unix seconds.
    Column("began_at", Double, nullable=False),
    # The UTC day of that, in days since 1970.
    Column("day", Integer, nullable=False),
    Column("first_text_ms", Integer),
    Column("total_ms", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    # In the currency of PRICES_FILE; null without a price.
    Column("cost", Double),
    Column("status", Text, nullable=False),
    Column("code", Text),
    # Trace and span of the run, as in a `traceparent` header.
    Column("trace", Text),
    Index("usage_by_day", "day"),
    Index("usage_by_conversation", "conversation_id"),
    Index("usage_by_user", "user_hash"),
)

UPSTREAMS = Table(
    "upstreams",
    METADATA,
    Column("url", Text, primary_key=True),
    # What the upstream answered when it was asked; null while it is not known.
    Column("has_conversations", Boolean),
    Column("stores_responses", Boolean),
)

BUDGETS = Table(
    "budgets",
    METADATA,
    Column("day", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    # Money is in billionths.
    Column("tokens", BigInteger, nullable=False, server_default="0"),
    Column("nanos", BigInteger, nullable=False, server_default="0"),
    # Of turns under way.
    Column("held_tokens", BigInteger, nullable=False, server_default="0"),
    Column("held_nanos", BigInteger, nullable=False, server_default="0"),
    # The percentage of its limit that has been told, 80 or 100.
    Column("told", Integer, nullable=False, server_default="0"),
)

BUDGETED_TURNS = Table(
    "budgeted_turns",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("day", Text, nullable=False),
    Column("accounts", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("nanos", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("is_held", Boolean, nullable=False),
    Index("budgeted_turns_by_expiry", "is_held", "expires_at"),
)

THREAD_SIZES = Table(
    "thread_sizes",
    METADATA,
    Column("conversation_id", Text, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
    Column("noted_at", Double, nullable=False),
    Index("thread_sizes_by_age", "noted_at"),
)
