"""What makes an SQLAlchemy application multi-tenant behind pgwarden: one engine, one pool, and one statement in front of
each transaction that says whom it acts for."""

from contextvars import ContextVar

from sqlalchemy import event

# The organisation and the user of the request that is being served, as the application's own login has established
# them. None: the default organisation.
acting: ContextVar[tuple[str, str] | None] = ContextVar("acting", default=None)

CLAIM = "SELECT set_config('app.current_org_id', %s, true), set_config('app.current_user_id', %s, true)"


def tell(engine):
    """The hook: pgwarden checks the claim, and answers 42501 where the user is none of the organisation's."""
    event.listen(engine, "begin", lambda connection: acting.get() and connection.exec_driver_sql(CLAIM, acting.get()))
