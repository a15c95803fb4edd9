"""Several IMAP sessions at once against a simple model: every session's picture, POP3's and the API's agree with it."""
