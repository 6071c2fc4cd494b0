"""Measurements of the load generator itself, and of routers beside each other."""
