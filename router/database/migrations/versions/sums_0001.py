"""The database adds a batch of decisions to the sums itself: hosts have requests to answer.

Only where the shipper asks for it (`raisehand.sums` = rows, within its transaction): one of the
version before adds its sums itself.
"""

from alembic import op

revision = "sums_0001"
down_revision = "tables_0001"

_SUMS = {
    "student_pusd": "coalesce(sum(student_pusd), 0)",
    "teacher_pusd": "coalesce(sum(teacher_pusd), 0)",
    "requests": "count(*)",
    "asked": "count(*) filter (where attempts > 0)",
    "attempts": "sum(attempts)",
    "input_tokens": "sum(input_tokens)",
    "output_tokens": "sum(output_tokens)",
    "cached_input_tokens": "sum(cached_input_tokens)",
    "measured_attempts": "coalesce(sum(attempts) filter (where input_tokens > 0), 0)",
    "degraded": "count(*) filter (where degraded)",
    "audited": "count(*) filter (where audited)",
    "unpriced": "count(*) filter (where student_pusd is null or teacher_pusd is null)",
    "estimated": "count(*) filter (where estimated)",
}
_KEY = "hour, instance, task, bundle, route, reason, client"


def upgrade() -> None:
    """Make the trigger."""
    added = ", ".join(f"{name} = s.{name} + excluded.{name}" for name in _SUMS)
    op.execute(f"""
        create function raisehand.add_sums() returns trigger language plpgsql as $$
        begin
            insert into raisehand.ledger_sums as s
                ({_KEY}, first_at, last_at, {", ".join(_SUMS)})
            select date_trunc('hour', at, 'UTC'), instance, task, bundle, route, reason, client,
                   min(at), max(at), {", ".join(_SUMS.values())}
            from batch group by 1, 2, 3, 4, 5, 6, 7
            on conflict ({_KEY}) do update set
                first_at = least(s.first_at, excluded.first_at),
                last_at = greatest(s.last_at, excluded.last_at), {added};
            return null;
        end $$""")
    op.execute("""
        create trigger decisions_sums after insert on raisehand.decisions
        referencing new table as batch for each statement
        when (current_setting('raisehand.sums', true) = 'rows')
        execute function raisehand.add_sums()""")
