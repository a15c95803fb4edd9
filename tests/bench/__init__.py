"""Measures the server from outside, alone and beside Postfix with Dovecot: `python -m tests.bench`."""
