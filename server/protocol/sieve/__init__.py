"""Sieve (RFC 5228): script grammar, validation and evaluation, without I/O."""
