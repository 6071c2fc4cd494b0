"""Budgets that workers of all hosts spend together, and what each of them holds.

The columns are those of the file that one host has (`router.shared.sqlite_store`); money is whole
pico-dollars.
"""

from alembic import op

revision = "leases_0001"
down_revision = "shared_0001"


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        create table raisehand.budgets (
            name text primary key,
            handed_out bigint not null,
            at double precision not null
        ) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)""")
    op.execute("""
        comment on table raisehand.budgets is
        'How much of each budget is handed out to leases, spent or not, as of a moment'""")
    op.execute("""
        create table raisehand.leases (
            budget text not null,
            seat text not null,
            spend_to bigint not null,
            live_until double precision not null,
            primary key (budget, seat)
        ) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)""")
