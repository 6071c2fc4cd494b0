"""The compiled event loop and what runs it."""
