"""One bill for closed form and simulation: month, rails, baselines, projection."""
