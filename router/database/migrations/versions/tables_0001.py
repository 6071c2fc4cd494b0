"""What tables (`raisehand batch`) add up to: what the student answered alone has no decision."""

from alembic import op

revision = "tables_0001"
down_revision = "texts_0001"

_COUNTS = (
    "requests", "input_tokens", "output_tokens", "attempts", "degraded", "audited", "unpriced",
    "estimated",
)  # fmt: skip


def upgrade() -> None:
    """Make the table, and a place for how far each host's file has brought them."""
    op.execute(f"""
        create table raisehand.table_sums (
            day date not null,
            task text not null,
            route text not null,
            reason text not null,
            student_pusd numeric not null,
            teacher_pusd numeric not null,
            {", ".join(f"{name} bigint not null" for name in _COUNTS)},
            primary key (day, task, route, reason)
        )""")
    op.execute("alter table raisehand.shipped add column table_sums bigint not null default 0")
