"""What all workers share: audits, what they say of each bundle, and what happened.

The columns are those of the file that one host has (`router.shared.sqlite_store`).
"""

from alembic import op

revision = "shared_0001"
down_revision = "ledger_0001"


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        create table raisehand.audits (
            id bigint generated always as identity primary key,
            instance text not null,
            number bigint not null,
            task text not null,
            bundle text not null,
            at double precision not null,
            request_id text not null,
            propensity double precision not null,
            escalated boolean not null,
            student_label text,
            confidence double precision,
            teacher_label text,
            disagreed boolean not null
        )""")
    op.execute(
        "create unique index audits_told on raisehand.audits (instance, task, bundle, number)"
    )
    op.execute("create index audits_of on raisehand.audits (task, bundle, id)")
    op.execute("""
        comment on table raisehand.audits is
        'Requests drawn at random and what the teacher said, in the order in which they count'
        """)
    op.execute("""
        create table raisehand.evidence (
            task text not null,
            bundle text not null,
            version bigint not null,
            evidence text,
            verdict text not null,
            primary key (task, bundle)
        ) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)""")
    op.execute("""
        create table raisehand.events (
            id bigint generated always as identity primary key,
            at double precision not null,
            task text not null,
            bundle text not null,
            kind text not null,
            reason text not null,
            actor text not null,
            figures text not null
        )""")
    op.execute("""
        create table raisehand.deliveries (
            name text primary key,
            taken bigint not null,
            holder text not null,
            until double precision not null
        )""")
