"""Authentication: API keys, browser sessions and tokens of an identity provider."""
