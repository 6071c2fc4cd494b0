"""What Ray costs, beside what one host does by itself."""
