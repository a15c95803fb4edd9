"""The door for mail from the world."""
