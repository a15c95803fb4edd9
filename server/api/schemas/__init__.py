"""Request and response structs, one file a resource."""
