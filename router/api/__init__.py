"""One file a path: what the router answers, and which tasks it serves."""
