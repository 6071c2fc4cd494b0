"""The published figures of the router: measured in one go, and their page."""
