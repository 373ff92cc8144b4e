"""What the sandbox's bank does with a household's payments, drawn from (seed, household) alone.

Ids are random and times depend on the machine; this does not. A test can therefore say beforehand
how each household's payments must end.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Failure = Literal["name_mismatch", "closed", "card_replaced", "frozen", "other"]
Manner = Literal["at_once", "accepted_first", "late", "silent", "silent_after_accepting"]

FAILURES: Final[tuple[Failure, ...]] = ("name_mismatch", "closed", "card_replaced", "frozen")
# Most of what fails in practice is a name that differs from the bank's register.
FAILURE_WEIGHTS: Final = (6, 1, 2, 1)


@dataclass(frozen=True)
class Rates:
    """How often the bank does what, each out of 1; the rest it confirms at once."""

    wrong_account: float = 0.06
    accepted_first: float = 0.2
    late: float = 0.08
    silent: float = 0.05
    silent_after_accepting: float = 0.03
    doubled: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.accepted_first, self.late, self.silent, self.silent_after_accepting)
        rates = (self.wrong_account, self.doubled, sum(shares), *shares)
        if not all(0 <= rate <= 1 for rate in rates):
            raise ValueError("rates lie between 0 and 1, and the manners together too")


DEFAULT_RATES: Final = Rates()


@dataclass(frozen=True)
class Fate:
    """What becomes of a payment to one card of one household."""

    failure: Failure | None
    manner: Manner
    # Business days until the money moves; none unless it is accepted first or comes late.
    delay_days: int
    # Every report comes twice.
    doubled: bool


def bank_fate(seed: int, household: int, variant: int = 0, rates: Rates = DEFAULT_RATES) -> Fate:
    """The same for every payment to that card. A corrected card (variant 1 on) never fails."""
    drawn = Random(f"{seed}|bank|{household}")
    wrong = drawn.random() < rates.wrong_account
    failure = drawn.choices(FAILURES, FAILURE_WEIGHTS)[0]
    behaviour = Random(f"{seed}|bank|{household}|{variant}")
    manner = _manner(behaviour.random(), rates)
    delay_days = {"accepted_first": (1, 4), "late": (3, 5)}.get(manner, (0, 0))
    return Fate(
        failure if wrong and variant == 0 else None,
        manner,
        behaviour.randint(*delay_days),
        behaviour.random() < rates.doubled,
    )


def _manner(point: float, rates: Rates) -> Manner:
    shares: tuple[tuple[Manner, float], ...] = (
        ("accepted_first", rates.accepted_first),
        ("late", rates.late),
        ("silent", rates.silent),
        ("silent_after_accepting", rates.silent_after_accepting),
    )
    for manner, share in shares:
        if point < share:
            return manner
        point -= share
    return "at_once"
