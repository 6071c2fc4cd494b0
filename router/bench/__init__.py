"""Measurements of the router: a target, clients, a peer, and the report."""
