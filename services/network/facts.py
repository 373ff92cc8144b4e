"""What the network states: organisations, the dated tree, offices and delegations.

All of an organisation's facts stand in its own stream (an edge in the child's). ``to_day`` is the
first day on which an edge, office or delegation no longer holds.
"""

from datetime import date
from typing import Final

from shared.fact import Fact

STREAMS = ("organisation",)

# The form of an organisation's id.
ORGANISATION_ID: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"


class OrganisationFounded(Fact, name="bangfu.network.OrganisationFounded"):
    """There is a new organisation; its place in the tree is a fact of its own."""

    organisation: str
    kind: str
    name: str
    founded_on: date


class OrganisationClosed(Fact, name="bangfu.network.OrganisationClosed"):
    """From ``closed_on`` on nobody acts for it any more."""

    organisation: str
    closed_on: date


class EdgeOpened(Fact, name="bangfu.network.EdgeOpened"):
    """``child`` stands under ``parent`` from this day on."""

    child: str
    parent: str
    from_day: date


class EdgeClosed(Fact, name="bangfu.network.EdgeClosed"):
    """``child`` stands under ``parent`` no longer."""

    child: str
    parent: str
    to_day: date


class OfficeTaken(Fact, name="bangfu.network.OfficeTaken"):
    """``person`` holds the office from this day on."""

    person: str
    organisation: str
    role: str
    from_day: date


class OfficeLeft(Fact, name="bangfu.network.OfficeLeft"):
    """``person`` holds the office no longer."""

    person: str
    organisation: str
    role: str
    to_day: date


class DelegationGiven(Fact, name="bangfu.network.DelegationGiven"):
    """Who holds ``role`` in ``to_organisation`` acts in it for ``organisation`` too."""

    organisation: str
    to_organisation: str
    role: str
    from_day: date


class DelegationEnded(Fact, name="bangfu.network.DelegationEnded"):
    """The role is taken back."""

    organisation: str
    to_organisation: str
    role: str
    to_day: date
