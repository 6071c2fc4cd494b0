"""Measurements of the simulator: speed, memory, and other simulators beside it."""
