"""Composition: builds the services, runs them, drains them."""
