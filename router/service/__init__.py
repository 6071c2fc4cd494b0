"""What the router serves: tasks, what is passed on, and the figures that a scrape reads."""
