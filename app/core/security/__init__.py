"""Who may call, from where, and whose ids are whose."""
