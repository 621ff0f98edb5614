"""Budgets: what users and everybody together may spend upstream in a day."""
