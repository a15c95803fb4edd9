"""The IMAP edge, over real sockets and a real store."""
