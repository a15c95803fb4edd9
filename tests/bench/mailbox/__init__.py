"""A large mailbox over IMAP, ours beside Dovecot's: the same messages, the same client."""
