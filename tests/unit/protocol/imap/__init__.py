"""IMAP grammar: octets to values and back, limits, framing."""
