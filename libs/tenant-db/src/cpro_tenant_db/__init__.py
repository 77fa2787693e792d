"""The database of an establishment: directory, connections, schema, record catalogue."""
