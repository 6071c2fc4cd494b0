"""Every difference on the same draws."""
