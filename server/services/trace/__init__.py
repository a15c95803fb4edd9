"""The numbered log of every message's life."""
