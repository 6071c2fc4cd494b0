"""The ledger of all hosts: every decision in a partition of its UTC day, and sums by the hour.

Dollars are whole pico-dollars (1e-12 USD), as in each host's own ledger. `decisions` has no key: a
batch and its `shipped.row` are stored in one transaction, so no row comes twice.
"""

from alembic import op

revision = "ledger_0001"
down_revision = None

_SUMS = (
    "requests", "asked", "attempts", "input_tokens", "output_tokens", "cached_input_tokens",
    "measured_attempts", "degraded", "audited", "unpriced", "estimated",
)  # fmt: skip


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        create table raisehand.shipped (
            instance integer generated always as identity primary key,
            spool text not null unique,
            host text not null,
            "row" bigint not null default 0,
            request_id text not null default '',
            at timestamptz not null default now()
        )""")
    op.execute("""
        comment on table raisehand.shipped is
        'How far each ledger file has been shipped: its last row, and whose request that was'""")
    op.execute("""
        create table raisehand.decisions (
            instance integer not null,
            "row" bigint not null,
            at timestamptz not null,
            request_id text not null,
            task text not null,
            bundle text not null,
            surface text not null,
            route text not null,
            reason text not null,
            label text,
            confidence double precision,
            student_pusd bigint,
            teacher_pusd bigint,
            input_tokens bigint not null,
            output_tokens bigint not null,
            attempts integer not null,
            latency_ms double precision not null,
            degraded boolean not null,
            audited boolean not null,
            propensity double precision not null,
            text_sha256 text not null,
            client text not null,
            cached_input_tokens bigint not null,
            estimated boolean not null,
            model text not null,
            student_label text,
            teacher_label text
        ) partition by range (at)""")
    op.execute("create index decisions_at on raisehand.decisions using brin (at)")
    op.execute("""
        create table raisehand.ledger_days (
            day date primary key,
            retired_at timestamptz
        )""")
    op.execute("""
        comment on table raisehand.ledger_days is
        'UTC days with a partition of decisions; retired: only their sums are kept'""")
    op.execute(f"""
        create table raisehand.ledger_sums (
            hour timestamptz not null,
            instance integer not null,
            task text not null,
            bundle text not null,
            route text not null,
            reason text not null,
            client text not null,
            first_at timestamptz not null,
            last_at timestamptz not null,
            student_pusd numeric not null,
            teacher_pusd numeric not null,
            {", ".join(f"{name} bigint not null" for name in _SUMS)},
            primary key (hour, instance, task, bundle, route, reason, client)
        ) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)""")
    op.execute("""
        comment on table raisehand.ledger_sums is
        'Sums of decisions by UTC hour; of a retired day by the day, of all instances (0)'""")
