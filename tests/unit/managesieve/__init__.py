"""The ManageSieve edge."""
