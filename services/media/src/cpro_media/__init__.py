"""Logo and stamp of an establishment."""
