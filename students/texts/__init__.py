"""Texts kept with consent: encrypted, for so long, and forgotten on request."""
