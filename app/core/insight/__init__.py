"""What the operator learns of turns: what users say of them, what they cost, and webhooks that tell it."""
