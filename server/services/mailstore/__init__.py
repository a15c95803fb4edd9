"""Mailboxes and messages of accounts."""
