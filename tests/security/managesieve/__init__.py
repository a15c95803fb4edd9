"""Attacks on the ManageSieve edge."""
