"""Synthetic pupils, SIECLE files and servers for tests and demonstrations."""
