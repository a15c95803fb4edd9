"""The door for mail of our users and our own."""
