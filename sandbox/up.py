"""``./run up``: servers and services for a person who wants to look around, on today's date."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime

from rich.console import Console

from deploy.infrastructure import InfrastructureError, SettingError, start_detached
from sandbox.arguments import OneLineParser, program
from sandbox.installation import CHECKOUT, Installation, StartError
from sandbox.look_on import own_databases, say_how_to_look_on
from sandbox.rest import RestlessError
from sandbox.run import Plan, fresh_folder, started
from sandbox.year import SHANGHAI

DESCRIPTION = (
    "在今天的日期启动服务器与各服务，供人查看；./run down 停止。 Start servers and services on "
    "today's date, to look around; ./run down stops them. A second call is one more."
)
FOLDER = CHECKOUT / ".bangfu" / "up"


async def _up() -> None:
    console = Console()
    folder = fresh_folder(FOLDER)
    servers = own_databases(start_detached(FOLDER / "servers"), folder.name)
    installation = Installation(folder, servers, prefix=f"{folder.name}.", detached=True)
    plan = Plan(households=0, year=datetime.now(SHANGHAI).year)
    async with started(
        plan, installation, say=lambda text: console.print(f"· {text}"), keep=True, simulated=False
    ) as run:
        say_how_to_look_on(run, console)


@program
def main() -> None:
    """Start everything, detached; a second call starts a second installation beside the first."""
    parser = OneLineParser(prog="./run up", description=DESCRIPTION)
    parser.parse_args()
    try:
        asyncio.run(_up())
    except SettingError as error:
        parser.fail(str(error))
    except (InfrastructureError, StartError, RestlessError) as error:
        parser.fail(str(error), status=1)
    except KeyboardInterrupt:
        print("已中断，停止用 interrupted; stop what runs with: ./run down", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
