"""Tests of the files in systemd/."""
