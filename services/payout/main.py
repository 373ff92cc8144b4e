"""The wiring of payout: its room, its routes and the bank's door."""

from __future__ import annotations

from fastapi import APIRouter

from services.eligibility import facts as eligibility_facts
from services.intake import facts as intake_facts
from services.network import facts as network_facts
from services.payout import api, bank, facts, storage
from services.payout.decisions import accounts, batch, case, cover, fund, paying, reports
from services.payout.instructions import TABLE, topic_of
from services.payout.reactions import REACTIONS
from services.payout.settings import PayoutSettings
from services.payout.timers import TIMERS
from services.payout.unresolved import tell_unresolved
from shared.door import Door
from shared.fact import registry_of
from shared.room import Act, Room, StreamKind
from shared.service import serve
from shared.settings import load_settings

PAYOUTS = StreamKind(
    name="payouts",
    of_case=True,
    initial=case.Payouts,
    evolve=case.evolve,
    acts={
        cover.TakeOverAccount: Act(cover.take_over_account, opens=True),
        cover.ReserveCover: Act(cover.reserve_cover, cover.needs_balance),
        cover.ReleaseCover: Act(cover.release_cover),
        paying.PlanPayout: Act(paying.plan_payout),
        paying.TakeIntoBatch: Act(paying.take_into_batch),
        paying.IssuePayout: Act(paying.issue_payout),
        reports.RecordReport: Act(reports.record_report),
        reports.NoteSilence: Act(reports.note_silence),
        reports.QueryBank: Act(reports.query_bank),
        accounts.CorrectAccount: Act(accounts.correct_account, accounts.needs_batches),
        accounts.ProposeReissue: Act(accounts.propose_reissue),
        accounts.ConfirmReissue: Act(accounts.confirm_reissue),
    },
    holder=lambda state: state.organisation_id or None,
    views=storage.case_views,
)

BATCH = StreamKind(
    name="batch",
    of_case=False,
    initial=batch.Batch,
    evolve=batch.evolve,
    acts={
        batch.PrepareBatch: Act(batch.prepare_batch, batch.needs_payouts, opens=True),
        batch.ReleaseBatch: Act(batch.release_batch),
    },
    holder=lambda state: state.organisation_id or None,
    views=storage.batch_views,
)

FUND = StreamKind(
    name="fund",
    of_case=False,
    initial=fund.Fund,
    evolve=fund.evolve,
    acts={fund.CreditFund: Act(fund.credit_fund, opens=True)},
    holder=lambda state: state.organisation_id or None,
    views=storage.fund_views,
)

ROOM = Room(
    name="payout",
    kinds={"payouts": PAYOUTS, "batch": BATCH, "fund": FUND},
    states=registry_of(facts),
    reads=registry_of(facts, intake_facts, eligibility_facts, network_facts),
    hears={
        "network": network_facts.STREAMS,
        "intake": intake_facts.STREAMS,
        "eligibility": eligibility_facts.STREAMS,
        "payout": facts.STREAMS,
    },
    reactions=REACTIONS,
    timers=TIMERS,
    guard_changes=storage.guard_changes,
    own_rows=storage.own_rows,
    derived=storage.DERIVED,
)


def main() -> None:
    """Run the service until it is told to stop."""
    settings = load_settings(PayoutSettings)

    def routes(door: Door) -> APIRouter:
        router = api.routes(door)
        router.include_router(bank.routes(door, settings))
        return router

    serve(
        ROOM,
        routes,
        PayoutSettings,
        extra_outboxes={TABLE: topic_of(settings.bank_subscriber)},
        background=(bank.questions(settings), tell_unresolved),
    )


if __name__ == "__main__":
    main()
