"""Searches over scenarios: capacity, comparisons, Pareto fronts."""
