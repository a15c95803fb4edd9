"""One file a table family: rows in, domain values out."""
