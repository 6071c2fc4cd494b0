"""From measurements to parameters."""
