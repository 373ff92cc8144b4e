"""Pools of connections, and what is asked of a connection when it comes back to one."""

from __future__ import annotations

from typing import Final

import asyncpg


async def keep_as_it_is(_connection: asyncpg.Connection) -> None:
    """Nothing, for nothing here sets its session; what is set is set for one transaction.

    The library itself rolls back what is open. Its own reset (advisory locks, cursors, listeners,
    settings: none of them used) would cost a round trip after each use of a connection.
    """


# Every statement of a service finds its rows by an index. A planner with the statistics of an empty
# table would read whole ones, and keep that plan while the table grows: a handful of rows is looked
# up one by one. What is planned once for all values is planned once.
PLANS_BY_INDEX: Final = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
