"""Where operators want this router, and how it gets there."""
