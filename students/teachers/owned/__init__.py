"""A classifier of one's own as a teacher: loaded, served, started and stopped."""
