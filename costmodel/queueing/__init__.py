"""Closed forms of queues and of accelerators; no input or output."""
