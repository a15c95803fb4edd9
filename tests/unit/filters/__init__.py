"""Tests of what accounts do with their mail."""
