"""What files say: scenarios, tasks, ledgers, profiles, and changes to them."""
