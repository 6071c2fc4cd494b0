"""Whoever must know of what happened is told: webhooks, in order, until they took it."""
