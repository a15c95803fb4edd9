"""MaiRust: the mail server daemon."""
