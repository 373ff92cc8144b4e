"""How a command reaches the stores as an operator, who sees every schema."""

from __future__ import annotations

import asyncpg


def operators_pool(postgres_url: str) -> asyncpg.Pool:
    """A few connections under the operator's name; open it with ``async with``."""
    return asyncpg.create_pool(
        postgres_url,
        min_size=1,
        max_size=3,
        timeout=10,
        server_settings={"application_name": "bangfu-operator"},
    )
