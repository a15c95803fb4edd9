"""All SQL: schema, units of work, repositories."""
