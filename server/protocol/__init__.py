"""Sans-io grammar: bytes to values and back."""
