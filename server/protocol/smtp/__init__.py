"""SMTP grammar (RFC 5321 and its extensions)."""
