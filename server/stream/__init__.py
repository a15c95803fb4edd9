"""What the edges of lines share: one client's stream, its listeners, its logins."""
