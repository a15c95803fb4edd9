"""The mairust command: a pure client of the API."""
