"""Metrics, counters, exposition, logs and traces."""
