"""What the network states: organisations, the dated tree, offices and delegations.

All of an organisation's facts stand in its own stream (an edge in the child's). ``to_day`` is the
first day on which an edge, office or delegation no longer holds.
"""

from datetime import date

from shared.fact import Fact

STREAMS = ("organisation",)


class OrganisationFounded(Fact, name="bangfu.network.OrganisationFounded"):
    organisation: str
    kind: str
    name: str
    founded_on: date


class OrganisationClosed(Fact, name="bangfu.network.OrganisationClosed"):
    organisation: str
    closed_on: date


class EdgeOpened(Fact, name="bangfu.network.EdgeOpened"):
    child: str
    parent: str
    from_day: date


class EdgeClosed(Fact, name="bangfu.network.EdgeClosed"):
    child: str
    parent: str
    to_day: date


class OfficeTaken(Fact, name="bangfu.network.OfficeTaken"):
    person: str
    organisation: str
    role: str
    from_day: date


class OfficeLeft(Fact, name="bangfu.network.OfficeLeft"):
    person: str
    organisation: str
    role: str
    to_day: date


class DelegationGiven(Fact, name="bangfu.network.DelegationGiven"):
    organisation: str
    to_organisation: str
    role: str
    from_day: date


class DelegationEnded(Fact, name="bangfu.network.DelegationEnded"):
    organisation: str
    to_organisation: str
    role: str
    to_day: date
