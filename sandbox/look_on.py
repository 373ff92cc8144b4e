"""How a person looks on at an installation that was left running."""

from __future__ import annotations

from typing import Final

from rich.console import Console

from deploy.infrastructure import Infrastructure, create_database
from sandbox.run import Run

# What these two have instead of a description of their own.
SHOWN_AT: Final = {"issuer": "/.well-known/openid-configuration", "bank": "/status"}
TRIED: Final = (
    "export BANGFU_TOKEN=$(./run token union-1-1.handler)",
    'curl -s -H "Authorization: Bearer $BANGFU_TOKEN" "$BANGFU_INTAKE_URL/cases"',
)


def own_databases(servers: Infrastructure, name: str) -> Infrastructure:
    """Databases of one run alone, on servers that others may use too."""
    database = f"bangfu_{name.replace('-', '_')}"
    return Infrastructure(
        postgres_url=create_database(servers.postgres_url, database),
        keys_url=create_database(servers.keys_url, f"{database}_keys"),
        kafka_bootstrap=servers.kafka_bootstrap,
    )


def say_how_to_look_on(run: Run, console: Console) -> None:
    """Addresses and commands."""
    installation = run.installation
    path = installation.write_environment()
    console.print("仍在运行 still running:")
    for name in installation.process_names:
        console.print(f"  {name:12} {installation.url(name)}{SHOWN_AT.get(name, '/docs')}")
    # A path that is cut into two lines can't be copied.
    console.print("查看 look on:", f"  source {path}", sep="\n", soft_wrap=True)
    case_id = next(iter(run.story.number_by_case), None)
    if case_id is not None:
        console.print(f"  ./run bangfu replay {case_id}")
    console.print("  ./run bangfu verify")
    console.print(
        "发一请求 try a request, as somebody of", f"{installation.people_file}:", soft_wrap=True
    )
    for line in TRIED:
        console.print(f"  {line}", soft_wrap=True, highlight=False)
    console.print("停止 stop:", "  ./run down", sep="\n")
