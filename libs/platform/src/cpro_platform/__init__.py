"""What every service stands on: database, outbox, consumers, access, HTTP, logs."""
