"""Use cases: what the service does when an event comes, when a transfer is due, and when somebody asks."""
