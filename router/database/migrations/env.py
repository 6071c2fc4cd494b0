"""Runs the steps in one transaction, one migrator at a time; alembic executes this file."""

from alembic import context
from sqlalchemy import text

from router.database.locks import DatabaseLock
from router.database.migrate import SCHEMA, VERSIONS

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, version_table=VERSIONS, version_table_schema=SCHEMA,
)  # fmt: skip
with context.begin_transaction():
    connection.execute(
        text("select pg_advisory_xact_lock(:lock)"), {"lock": int(DatabaseLock.MIGRATION)}
    )
    # "if not exists" would ask for the right to make one even where an administrator has made it
    if connection.execute(text("select to_regnamespace(:name)"), {"name": SCHEMA}).scalar() is None:
        connection.execute(text(f"create schema {SCHEMA}"))
    context.run_migrations()
