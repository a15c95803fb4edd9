"""The IMAP edge."""
