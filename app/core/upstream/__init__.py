"""The upstream port and its adapters: the only code that opens an upstream connection."""
