"""Students on Ray Serve, for routers that are started with `--engine ray://…`."""
