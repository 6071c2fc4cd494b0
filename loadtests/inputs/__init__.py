"""What is asked for: the request, the scenario, the rows, the target."""
