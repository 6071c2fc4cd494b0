"""The what-if page: a local server and its controls."""
