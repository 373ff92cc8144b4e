"""The sandbox's bank: cards and fates are functions of the household, its books pay once."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from sandbox import bank as bank_module
from sandbox import cards
from sandbox.bank import MOST_RECORDS, Bank
from sandbox.bank_client import Accounts, NoAnswer
from sandbox.bank_instructions import BrokenInstruction, Headers, Instruction, is_birth, read
from sandbox.bank_ledger import Ledger, Order
from sandbox.bank_settings import PREFIX, BankSettings, new_key_pair
from sandbox.fate import Fate, Rates, bank_fate
from sandbox.installation import CHECKOUT
from services.payout.instructions import instruction_row
from services.payout.main import PAYOUTS
from shared.fact import BORN
from tests.given_when_then import given
from tests.services.payout.world import SENT

TODAY, TOMORROW = date(2025, 3, 3), date(2025, 3, 4)
AT_ONCE = Fate(None, "at_once", 0, doubled=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    books = Ledger(tmp_path)
    yield books
    books.close()


def record() -> tuple[list[tuple[str, bytes]], bytes]:
    """An instruction as the relay publishes the outbox row of an issued payout."""
    issued = SENT[-1]
    recorded = given(PAYOUTS, SENT).recorded[-1]
    row = instruction_row(issued, recorded)
    attributes = json.loads(row["envelope"])
    headers = [("content-type", attributes.pop("datacontenttype").encode())]
    headers += [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
    return [*headers, ("ce_hash", row["hash"].encode())], row["data"].encode()


def test_a_card_tells_its_household_and_is_valid() -> None:
    """Test BIN, household number, variant, Luhn digit: nobody else's card looks like it."""
    for number, variant in ((0, 0), (42, 1), (99_999_999, 9)):
        card = cards.test_card(number, variant)
        assert (len(card), card[:6]) == (16, "999999")
        assert (cards.household_of(card), cards.variant_of(card)) == (number, variant)
    with pytest.raises(ValueError):
        cards.household_of("6222021234567890")
    with pytest.raises(ValueError):
        cards.test_card(10**8)


def test_a_fate_is_drawn_from_seed_and_household_and_a_corrected_card_is_right() -> None:
    """The same seed gives the same outcomes; rates are met; variant 1 never fails."""
    fates = [bank_fate(1, household) for household in range(5_000)]
    assert fates == [bank_fate(1, household) for household in range(5_000)]
    assert fates != [bank_fate(2, household) for household in range(5_000)]
    failed = sum(fate.failure is not None for fate in fates)
    assert 0.05 < failed / 5_000 < 0.07
    manners = Counter(fate.manner for fate in fates)
    assert set(manners) == {
        "at_once", "accepted_first", "late", "silent", "silent_after_accepting",
    }  # fmt: skip
    always_wrong = Rates(wrong_account=1)
    assert bank_fate(1, 7, 0, always_wrong).failure is not None
    assert bank_fate(1, 7, 1, always_wrong).failure is None


def test_an_instruction_says_no_more_than_a_bank_needs() -> None:
    """Payout, end-to-end id, amount and state; no case, programme, staff or trace."""
    headers, value = record()
    assert not is_birth(headers)
    assert is_birth([("ce_type", BORN.encode())])
    found = read(headers, value)
    assert (found.version, found.end_to_end_id, found.amount_fen) == (1, "E1", 80_000)
    assert set(json.loads(value)) == {
        "payout_id", "end_to_end_id", "amount_fen", "currency", "state",
    }  # fmt: skip
    assert {name for name, _ in headers} == {
        "content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time",
        "ce_dataschema", "ce_schemaversion", "ce_stream", "ce_streamversion", "ce_previoushash",
        "ce_hash",
    }  # fmt: skip


def test_a_flipped_or_foreign_record_is_no_instruction() -> None:
    """Every attribute and every byte of the data is under the hash."""
    headers, value = record()
    broken: list[tuple[Headers, bytes | None]] = [
        (headers, value.replace(b"80000", b"80001")),
        (headers, value[:-1]),
        (headers, None),
        (headers[:-1], value),
        ([], value),
    ]
    for index, (name, text) in enumerate(headers):
        flipped = [*headers[:index], (name, text + b"x"), *headers[index + 1 :]]
        broken.append((flipped, value))
    for bad_headers, bad_value in broken:
        with pytest.raises(BrokenInstruction):
            read(bad_headers, bad_value)


def order(fate: Fate, execute_on: date = TODAY, number: int = 1) -> Order:
    asked = Instruction(
        f"instruction-{number}",
        1,
        "0" * 64,
        f"hash-{number}",
        "P",
        f"E{number}",
        500,
        "CNY",
        "issued",
    )
    return Order(asked, 7, fate, execute_on)


def test_what_was_credited_is_credited_once_and_survives_a_restart(tmp_path: Path) -> None:
    """The books tell a repeat from a new instruction, also in a new process."""
    books = Ledger(tmp_path)
    with books.write():
        books.take(order(AT_ONCE), TODAY)
    assert books.due_work(TODAY) == 1
    with books.write():
        assert books.work(TODAY) == 1
        assert books.work(TODAY) == 0
    books.close()
    again = Ledger(tmp_path)
    assert again.knows("E1")
    assert again.repeats(order(AT_ONCE).instruction)
    assert not again.follows(order(AT_ONCE).instruction)
    assert [(c["end_to_end_id"], c["amount_fen"]) for c in again.credits()] == [("E1", 500)]
    again.close()


def test_a_chain_goes_on_only_at_its_head(ledger: Ledger) -> None:
    """A dropped or forked record does not follow."""
    with ledger.write():
        ledger.take(order(AT_ONCE), TODAY)
    second = Instruction("instruction-1", 2, "hash-1", "h", "P", "E1", 500, "CNY", "withdrawn")
    assert ledger.follows(second)
    forked = Instruction("instruction-1", 2, "other", "h", "P", "E1", 500, "CNY", "withdrawn")
    dropped = Instruction("instruction-2", 2, "hash-1", "h", "P", "E2", 500, "CNY", "issued")
    assert not ledger.follows(forked)
    assert not ledger.follows(dropped)


def test_a_doubled_report_goes_out_twice_and_in_order(ledger: Ledger) -> None:
    """Accepted today, credited tomorrow, every word two times."""
    with ledger.write():
        ledger.take(order(Fate(None, "accepted_first", 1, doubled=True), TOMORROW), TODAY)
        ledger.work(TODAY)
    said = []
    for day in (TODAY, TOMORROW):
        with ledger.write():
            ledger.work(day)
        while due := ledger.due_reports(day, 10):
            said.append((due[0].body["state"], due[0].copy))
            with ledger.write():
                ledger.sent(due[0])
    assert said == [("accepted", 0), ("accepted", 1), ("confirmed", 0), ("confirmed", 1)]


def test_a_silent_bank_answers_when_asked(ledger: Ledger) -> None:
    """It did what it was told, reports nothing, and knows nothing of what it never received."""
    with ledger.write():
        ledger.take(order(Fate(None, "silent", 0, doubled=False)), TODAY)
        ledger.take(order(Fate("closed", "silent", 0, doubled=False), number=2), TODAY)
        ledger.work(TODAY)
    assert ledger.due_report_count(TODAY) == 0
    credited, refused = ledger.payment("E1"), ledger.payment("E2")
    assert credited is not None
    assert (credited["state"], credited["credited_on"]) == ("confirmed", "2025-03-03")
    assert refused is not None
    assert (refused["state"], refused["reason"]) == ("failed", "closed")
    assert ledger.payment("E3") is None


def test_positions_belong_to_a_generation_of_the_topic(ledger: Ledger) -> None:
    """A topic that begins anew is read from its beginning."""
    with ledger.write():
        ledger.move("topic", 3, "born-1", 17)
    assert ledger.positions("topic", "born-1") == {3: 17}
    assert ledger.positions("topic", "born-2") == {}


class OpensFew:
    """Stands for payout, where none but these accounts open."""

    def __init__(self, opens: set[str]) -> None:
        self.opens = opens
        self.asked: list[str] = []

    async def accounts(self, end_to_end_ids: Sequence[str]) -> Accounts:
        self.asked += end_to_end_ids
        return Accounts({}, frozenset(set(end_to_end_ids) - self.opens))

    async def report(self, _told: object) -> list[int | None]:
        raise NoAnswer("not here")


def test_accounts_that_never_open_keep_none_from_being_asked_for(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than one question may name, and one behind them all that opens again."""
    count = 2 * MOST_RECORDS + 50
    with ledger.write():
        for number in range(count):
            asked = order(AT_ONCE, number=number).instruction
            ledger.take(Order(asked, None, None, TODAY), TODAY)
    last = max(f"E{number}" for number in range(count))
    payout = OpensFew({last})
    settings = BankSettings(
        folder=tmp_path,
        port=0,
        kafka_bootstrap="nowhere:1",
        topic="none",
        private_key=new_key_pair().private,
        payout_url="http://127.0.0.1:1",
        issuer_url="http://127.0.0.1:1",
        issuer_secret=SecretStr("none"),
    )
    monkeypatch.setattr(bank_module, "ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(bank_module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(bank_module, "PAUSE_SECONDS", 0.0)
    bank = Bank(settings, ledger, payout)  # type: ignore[arg-type]  # of it only this is used

    async def work_until_asked_twice() -> None:
        async with asyncio.timeout(20):
            working = asyncio.create_task(bank.work())
            while len(payout.asked) < 2 * count:  # noqa: ASYNC110 - it announces nothing
                await asyncio.sleep(0)
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    asyncio.run(work_until_asked_twice())
    assert ledger.payment(last) is not None
    times = Counter(payout.asked)
    assert times.pop(last) == 1
    assert len(times) == count - 1
    assert max(times.values()) - min(times.values()) <= 1


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """Before it opens its books or asks Kafka, which is nowhere."""
    told = {
        "FOLDER": str(tmp_path),
        "KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TOPIC": "none",
        "PRIVATE_KEY": new_key_pair().private.get_secret_value(),
        "PAYOUT_URL": "http://127.0.0.1:1",
        "ISSUER_URL": "http://127.0.0.1:1",
        "ISSUER_SECRET": "none",
    }
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "sandbox.bank"],
            cwd=CHECKOUT,
            env=os.environ | {f"{PREFIX}{n}": v for n, v in (told | {"PORT": port}).items()},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 2, ended.stderr
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"BANGFU_BANK_PORT: 端口 {port} 已被占用 port {port} is taken")
    assert not list(tmp_path.iterdir())
