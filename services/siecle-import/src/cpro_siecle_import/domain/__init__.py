"""The rules of the import, in words that an administrator would recognise. Pure: no clock, no I/O."""
