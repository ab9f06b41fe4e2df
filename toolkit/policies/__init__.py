"""Allocation policies: which model is asked which problem how often, all under one cap of money."""

from toolkit.policies.book import Book, book
from toolkit.policies.honest import coverage_when_stopped, prefix
from toolkit.policies.nouns import COVERAGE, Goal, Known, Member, State, Targets, nothing_known, price_of
from toolkit.policies.rehearse import Imagined, Outlook, Played, World, expected, play
from toolkit.policies.rules import Cascade, Difficulty, Mix, Policy, Uniform, UntilCorrect, checks

__all__ = [
    "COVERAGE",
    "Book",
    "Cascade",
    "Difficulty",
    "Goal",
    "Imagined",
    "Known",
    "Member",
    "Mix",
    "Outlook",
    "Played",
    "Policy",
    "State",
    "Targets",
    "Uniform",
    "UntilCorrect",
    "World",
    "book",
    "checks",
    "coverage_when_stopped",
    "expected",
    "nothing_known",
    "play",
    "prefix",
    "price_of",
]
