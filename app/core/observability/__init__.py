"""Metrics, prices and health, for operators."""
