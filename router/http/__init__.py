"""Bytes in, bytes out: connections, the fast lane, limits, keys and error bodies."""
