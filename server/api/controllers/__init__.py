"""One file a resource: short handlers over the services."""
