"""Attacks on the SMTP edge (security.md T01-T09, T15)."""
