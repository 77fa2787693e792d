"""The whole way, played on the real servers: schools import, records follow, every record is checked at the end."""
