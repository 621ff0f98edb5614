"""The database that `STORE_URL` names: its tables, their migrations, and access to it."""
