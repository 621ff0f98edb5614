"""Pure helpers. No FastAPI, no openai, no settings."""
