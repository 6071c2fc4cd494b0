"""What a ledger in PostgreSQL costs a router, and how fast it is read."""
