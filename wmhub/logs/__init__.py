"""Measurement logs: one file per format, each of which reads and writes it."""
