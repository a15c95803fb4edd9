"""Attacks on the POP3 edge."""
