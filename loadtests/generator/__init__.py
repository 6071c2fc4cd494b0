"""The open loop: users, schedule, connections, tallies, worker processes."""
