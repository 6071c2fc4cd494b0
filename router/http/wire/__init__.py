"""From bytes to whole messages and back: heads, bodies, encodings, connections."""
