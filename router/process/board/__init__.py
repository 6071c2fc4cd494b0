"""The page of the admin port: what runs now, whether the promise holds, what it costs."""
