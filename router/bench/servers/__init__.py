"""What the benches run the router against, and what they run beside it."""
