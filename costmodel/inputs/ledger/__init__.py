"""What a ledger says of traffic and money: a file or a database."""
