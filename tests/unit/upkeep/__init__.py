"""Tests of what keeps the server well."""
