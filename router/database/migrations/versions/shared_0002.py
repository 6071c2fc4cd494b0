"""What operators want of every worker of every host: bundle, canary, threshold, drain, keys."""

from alembic import op

revision = "shared_0002"
down_revision = "leases_0001"


def upgrade() -> None:
    """Make the table."""
    op.execute("""
        create table raisehand.wishes (
            task text not null,
            name text not null,
            version bigint not null,
            value text not null,
            bases text not null,
            at double precision not null,
            primary key (task, name)
        )""")
