"""The teacher in the event loop: an API with a limit, machines of one's own, a hosted engine."""
