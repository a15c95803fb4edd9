"""Typed configuration from one YAML file."""
