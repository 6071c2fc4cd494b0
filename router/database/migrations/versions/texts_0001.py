"""Texts of all hosts that were kept with consent: sealed, for so long, forgotten on request.

The columns are those of a host's file (`students.texts.store`), which keeps none that is here.
"""

from alembic import op

revision = "texts_0001"
down_revision = "feedback_0001"


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        create table raisehand.texts (
            task text not null,
            request_id text not null,
            at double precision not null,
            kind text not null,
            propensity double precision not null,
            recognised text not null,
            sealed bytea not null,
            primary key (task, request_id, at)
        )""")
    op.execute("create index texts_at on raisehand.texts (task, at)")
    op.execute("create index texts_recognised on raisehand.texts (task, recognised)")
    op.execute("""
        create table raisehand.forgotten (
            task text not null,
            request_id text not null,
            recognised text not null,
            until double precision not null,
            primary key (task, request_id, recognised)
        )""")
    op.execute("""
        comment on table raisehand.forgotten is
        'What was to be forgotten: a text from before `until` that comes later is deleted, too'""")
    op.execute("""
        create table raisehand.text_keys (
            task text primary key,
            fingerprint text not null
        )""")
