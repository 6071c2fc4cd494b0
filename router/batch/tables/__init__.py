"""Tables by chunks: read in constant memory, written with an answer beside each row."""
