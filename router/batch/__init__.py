"""Whole tables answered: student for all rows, teacher for the unsure ones, resumable."""
