"""What speaks to files, databases and the object store."""
