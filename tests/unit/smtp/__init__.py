"""Tests of the SMTP edge over real sockets with fake services."""
