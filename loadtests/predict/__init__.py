"""What the simulator says before the run, and how it compares afterwards."""
