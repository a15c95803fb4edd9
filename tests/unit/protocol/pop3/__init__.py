"""POP3 grammar."""
