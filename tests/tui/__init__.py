"""Tests of the console, driven by keys against a scripted API."""
