"""Hostile requests to the HTTP API."""
