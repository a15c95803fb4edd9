"""The HTTP API: the product's public contract."""
