"""Use cases: no sockets, no SQL, no wire syntax."""
