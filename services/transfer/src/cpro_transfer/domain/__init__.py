"""The rules of transfers: pure, no clock, no I/O."""
