"""Asking the teacher safely: slots, rates, budgets, retries, and what a call cost."""
