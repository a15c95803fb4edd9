"""Tests of the Sieve language."""
