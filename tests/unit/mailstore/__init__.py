"""Mailstore services over a real store."""
