"""How often and how much: rates, repeats, and the Redis that replicas share."""
