"""Tests of the MIME grammar."""
