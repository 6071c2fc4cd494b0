"""What alembic runs: one file of SQL for each step, all tables in the schema `raisehand`."""
