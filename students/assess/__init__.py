"""From the log of calls that are already paid for to what a student could keep of them."""
