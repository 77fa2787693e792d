"""Join departures and arrivals, and move the records."""
