"""Passed, failed or invalid: limits, drift, the generator's own limits, the knee."""
