"""From the ledger of a host to the database of all: batches, days, the thread that ships."""
