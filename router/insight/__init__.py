"""What the ledger shows afterwards: accuracy, another threshold, savings, the invoice."""
