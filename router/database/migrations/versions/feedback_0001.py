"""What became known later of answers, on whichever host somebody said it.

The columns are those of the ledger's file (`router.ledger.schema`).
"""

from alembic import op

revision = "feedback_0001"
down_revision = "shared_0002"


def upgrade() -> None:
    """Make the table."""
    op.execute("""
        create table raisehand.feedback (
            request_id text not null,
            task text not null,
            source text not null,
            client text not null,
            reviewer integer not null,
            at double precision not null,
            gold text,
            correct integer,
            primary key (task, request_id, source, client)
        )""")
