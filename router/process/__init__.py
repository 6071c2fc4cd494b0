"""From files to running processes: composition, servers, workers, the admin port."""
