"""Certificates, checks and other standing duties."""
