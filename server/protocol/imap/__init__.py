"""IMAP grammar (RFC 3501, RFC 9051 and extensions)."""
