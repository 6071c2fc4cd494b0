"""The processes that send: started, pinned, watched, ended."""
