"""Two load tests beside each other, and many in a row."""
