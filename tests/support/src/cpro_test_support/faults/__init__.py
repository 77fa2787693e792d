"""Faults on purpose: processes that are killed or put to sleep, servers that go away, and what is counted of it."""
