"""The SMTP edge: reception and submission."""
