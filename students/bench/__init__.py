"""Figures that anyone can measure again: `raisehand bench NAME`."""
