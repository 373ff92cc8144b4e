"""Command lines of the sandbox: nonsense ends with one line, ``--help`` does nothing else."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """argparse, without its usage before each complaint."""

    def error(self, message: str) -> NoReturn:
        """One line, and status 2."""
        print(f"{self.prog.removeprefix('./run ')}: {message}", file=sys.stderr)
        raise SystemExit(2)
