"""What one unit costs, and when."""
