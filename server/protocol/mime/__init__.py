"""MIME structure over raw octets (RFC 2045, RFC 5322)."""
