"""Events, identifiers, topics and problem codes shared by every CPro service."""
