"""Tests of SMTP grammar; no I/O."""
