"""The API client: transport and typed calls."""
