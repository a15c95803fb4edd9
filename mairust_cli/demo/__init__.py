"""The demo: a whole appliance on the loopback."""
