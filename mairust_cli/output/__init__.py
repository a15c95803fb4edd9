"""Output forms, errors and exit codes."""
