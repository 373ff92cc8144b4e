"""Commands of docs/operating.md, run as they are written there."""

import asyncio
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from deploy.native.postgres import find_binaries
from sandbox.installation import CHECKOUT
from tests.services.intake.running import Intake

HANDBOOK: Final = CHECKOUT / "docs" / "operating.md"
COMMANDS_SECONDS: Final = 120
FOLDERS: Final = ("/BACKUP/", "/REGISTER/")


async def typed(intake: Intake, folder: Path, drill: str, *commands: str) -> str:
    """Those lines of a drill's block that begin so, as they are written, in one shell."""
    handbook = HANDBOOK.read_text(encoding="utf-8")
    [block] = re.findall(rf"(?s)\*\*{re.escape(drill)}\*\*.*?```\n(.*?)```", handbook)
    lines = [line for line in block.splitlines() if line.startswith(commands)]
    assert len(lines) == len(commands)
    script = "\n".join(["set -e", *lines])
    for named in FOLDERS:
        script = script.replace(named, f"{folder}/")
    servers = intake.installation.infrastructure
    done = await asyncio.to_thread(
        subprocess.run,
        ["/bin/bash", "-c", script.replace("DAY", "$(date +%F)")],
        env={
            **os.environ,
            "PATH": f"{find_binaries()}:{os.environ['PATH']}",
            "KEYS": servers.keys_url,
            "BANGFU_POSTGRES_URL": servers.postgres_url,
            "BANGFU_KEYS_URL": intake.installation.environments["intake"]["BANGFU_KEYS_URL"],
        },
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=COMMANDS_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
