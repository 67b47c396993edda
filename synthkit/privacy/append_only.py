"""Tables that only grow: triggers by which the database itself refuses to change or remove a row.

They stop accidents and applications. Whoever owns the database can drop them; that is what hash chains and trees are for.
"""

from __future__ import annotations

import sqlalchemy as sa

# SQLite: INSERT OR REPLACE deletes without firing DELETE triggers, hence the third.
_SQLITE = {
    "{table}_no_update": "UPDATE ON {table}",
    "{table}_no_delete": "DELETE ON {table}",
    "{table}_no_replace": "INSERT ON {table} WHEN NEW.{key} <= (SELECT MAX({key}) FROM {table})",
}
_ARMED = "SELECT 1 FROM pg_trigger WHERE tgname = '{table}_append_only' AND tgrelid = '{table}'::regclass"
_POSTGRES = (
    """CREATE OR REPLACE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$""",
    """CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
       FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()""",
)


def arm(connection: sa.Connection, table: str, key: str) -> None:
    """Have the database refuse whatever is no new row at the end of ``table``; again does no harm.

    Args:
        connection: in a transaction that may write, of SQLite or PostgreSQL.
        table: its name.
        key: its primary key, a number that grows.
    """
    names = {"table": table, "key": key}
    if connection.dialect.name != "postgresql":
        for name, when in _SQLITE.items():
            trigger = f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {when} BEGIN SELECT RAISE(ABORT, "
            connection.exec_driver_sql(trigger.format(**names) + "'the ledger is append-only'); END")
    elif connection.exec_driver_sql(_ARMED.format(**names)).first() is None:
        for statement in _POSTGRES:
            connection.exec_driver_sql(statement.format(**names))


__all__ = ["arm"]
