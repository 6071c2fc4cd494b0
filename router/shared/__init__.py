"""One truth of all workers: audits, what they say of each bundle, and what happened, in a store."""
