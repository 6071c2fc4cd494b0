"""Cost model: usage times dated prices, workloads, and what a month will cost."""
