"""Soloist: one fixed assistant behind one small API."""
