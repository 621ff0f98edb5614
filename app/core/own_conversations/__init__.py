"""Conversations in the store, for upstreams that have Responses but no Conversations API."""
