"""Rate limits, idempotency keys, and the Redis that replicas share."""
