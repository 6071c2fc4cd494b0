"""Load tests that cannot flatter: open loop, timed from the scheduled instant."""
