"""Attacks on the IMAP edge."""
