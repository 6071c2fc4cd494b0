"""Requests a second of a router: by client, beside a peer, and beside another checkout."""
