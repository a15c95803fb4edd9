"""Values, errors and ports; no I/O."""
