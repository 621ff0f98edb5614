"""Domain events to what clients read: one encoder for each protocol."""
