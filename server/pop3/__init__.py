"""POP3: the edge that hands an account its INBOX (RFC 1939)."""
