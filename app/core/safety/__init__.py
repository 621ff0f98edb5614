"""What stands between a client's text and the model: guards of the operator, and moderation."""
