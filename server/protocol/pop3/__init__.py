"""POP3 grammar: command lines in, dot-stuffed messages out."""
