"""The POP3 edge."""
