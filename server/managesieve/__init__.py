"""ManageSieve: the edge that keeps an account's scripts (RFC 5804)."""
