"""The establishment sheet and the transfer opt-in."""
