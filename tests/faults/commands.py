"""Commands of `bangfu` as an operator gives them, in a process of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from sandbox.installation import CHECKOUT, Installation

LONGEST_COMMAND_SECONDS = 120.0


def environment_of(installation: Installation) -> dict[str, str]:
    """What an operator has sourced (`write_environment` in a shell)."""
    intake = installation.environments["intake"]
    known = ("TOPIC_PREFIX", "PARTITIONS", "MASTER_KEY", "ISSUER", "JWKS_URL", "KEYS_URL")
    return {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        **{f"BANGFU_{name}": intake[f"BANGFU_{name}"] for name in known},
        **installation.infrastructure.as_environment(),
    }


async def command(environment: Mapping[str, str], *words: str, status: int = 0) -> str:
    """What the command said. Raises AssertionError with it if it ended with another status."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(LONGEST_COMMAND_SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == status, f"{words}: {said.decode()}"
    return said.decode()
