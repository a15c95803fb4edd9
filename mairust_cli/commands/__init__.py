"""One file a noun: call the client, print."""
