"""The migration chain."""
