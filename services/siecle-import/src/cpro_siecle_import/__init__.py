"""Import of the national pupil file (SIECLE) into an establishment."""
