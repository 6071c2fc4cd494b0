"""PostgreSQL for what several hosts share: its address, its connections, its tables' versions."""
