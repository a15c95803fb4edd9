"""Tests of the `mairust` command against a scripted API."""
