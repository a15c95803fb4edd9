"""Tests of identity services."""
