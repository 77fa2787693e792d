"""Use cases: what an administrator chooses, and whom the service tells what."""
