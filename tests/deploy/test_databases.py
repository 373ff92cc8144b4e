"""Fresh databases are empty, of their own, and gone afterwards."""

import psycopg

from deploy.infrastructure import Infrastructure, create_database, database_url, drop_database
from tests.conftest import FreshDatabases


def test_fresh_databases_are_two_and_empty(
    infrastructure: Infrastructure, fresh_databases: FreshDatabases
) -> None:
    assert fresh_databases.postgres_url != fresh_databases.keys_url
    for url in (fresh_databases.postgres_url, fresh_databases.keys_url):
        assert url not in (infrastructure.postgres_url, infrastructure.keys_url)
        with psycopg.connect(url) as connection:
            counted = connection.execute(
                "SELECT count(*) FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'"
            ).fetchone()
            assert counted == (1,), "there is more than the schema 'public'"


def test_a_database_starts_as_a_copy_and_is_dropped_while_in_use(
    infrastructure: Infrastructure,
) -> None:
    admin_url = infrastructure.postgres_url
    with psycopg.connect(create_database(admin_url, "pattern")) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    copy_url = create_database(admin_url, "copied", template="pattern")
    assert copy_url == database_url(admin_url, "copied")
    connection = psycopg.connect(copy_url)
    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    for name in ("copied", "pattern"):
        drop_database(admin_url, name)
        drop_database(admin_url, name)
    connection.close()


def test_the_server_is_as_durable_as_in_production(infrastructure: Infrastructure) -> None:
    with psycopg.connect(infrastructure.postgres_url) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}".encode()).fetchone() == ("on",)
