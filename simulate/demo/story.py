"""The demo's story as a table: when, who does what, what must come of it by when, and what to watch. Floor: simulate.

Read it from top to bottom: it is the story. Times are local times of the story's day (a second day after midnight).
A step is missing in the report when what it waits for did not come before `by`; the story goes on all the same.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from simulate.demo import acts
from simulate.demo.plan import NEXT_DAY, STORY_DAY, moment
from simulate.demo.stage import Stage

Act = Callable[[Stage], Awaitable[None]]
Condition = Callable[[Stage], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story."""

    name: str
    """In the report, when it is missing."""
    at: str
    """Local ``HH:MM`` at which it begins."""
    by: str
    """Local ``HH:MM`` by which `until` holds."""
    act: Act
    until: Condition | None
    """None: the act is all."""
    now: str
    """What happens, for the console."""
    watch: str
    """What to look at meanwhile."""
    then: str = ""
    """What was seen when `until` held."""
    day: str = STORY_DAY
    by_day: str = STORY_DAY
    offices: int = 1
    """It needs so many of them."""

    @property
    def begins_at(self) -> int:
        """UTC seconds."""
        return moment(self.at, self.day)

    @property
    def ends_at(self) -> int:
        """UTC seconds."""
        return moment(self.by, self.by_day)


def story_of(offices: int) -> tuple[Step, ...]:
    """The steps of a story with so many offices."""
    return tuple(step for step in STORY if step.offices <= offices)


STORY: tuple[Step, ...] = (
    Step(
        "first_readings", "10:00", "11:00", acts.nothing, acts.everybody_was_read,
        "A mild Wednesday. {meters} meters are read over real sockets at every full hour.",
        "{hub}/ — the republic and its offices, all of them live",
        "every meter answered; the office knows who is dark from Monday, though its machine was off for a day",
    ),
    Step(
        "papers_at_the_offices", "10:05", "11:05", acts.bring_the_days_papers, acts.every_office_may_act,
        "Forecast, watermarks of bank and app, and a mandate that two persons signed come to the hub and go down.",
        "{office}/ — the mandate: one cut a day, and none once the channels were silent for two hours",
        "every office holds today's mandate",
    ),
    Step(
        "link_cut", "10:30", "11:15", acts.cut_the_line, acts.line_is_lost,
        "The line between {first} and the hub breaks.",
        "{office}/ and {hub}/nodes — the office says “link lost” at once, the hub slowly begins to doubt",
        "the office goes on by itself",
    ),
    Step(
        "neighbour_cut", "10:35", "12:00", acts.nothing, acts.neighbour_is_dark,
        "At {second}, whose line holds, a notice has run its five days: the debtor is cut, between 10:10 and 11:00.",
        "{other}/consumers/{neighbour} — why it is dark, by which mandate, what gives supply back",
        "cut, read back, and told to the hub", offices=2,
    ),
    Step(
        "restored_while_offline", "11:00", "12:10", acts.payer_pays_at_the_office, acts.payer_has_supply,
        "The one who has been dark since Monday comes to the window and pays; `edge-node pay` takes the money.",
        "{office}/consumers/{payer} — from “dark” to “on” within the minute, no hub asked",
        "the relay closed: supply is back, by the office alone",
    ),
    Step(
        "cut_while_offline", "11:15", "12:40", acts.nothing, acts.debtor_is_dark,
        "In {first}, without any line, a debtor's notice runs out at 11:15: due, told, unprotected, mandate in force.",
        "{office}/consumers/{debtor} — a cut that waits its random delay, then happens",
        "cut by the office alone; the meter's relay is open",
    ),
    Step(
        "paid_elsewhere", "12:00", "13:00", acts.elsewhere_pays_at_the_bank, None,
        "A third pays at the bank. The hub knows; {first} cannot know.",
        "{hub}/consumers/{elsewhere} beside {office}/consumers/{elsewhere} — paid here, owing there",
    ),
    Step(
        "neighbour_restored", "12:10", "13:20", acts.neighbour_pays_at_the_bank, acts.neighbour_has_supply,
        "The neighbour pays at the bank, too; there the line holds.",
        "{other}/consumers/{neighbour} — on again within minutes",
        "supply is back by a payment that came down the line", offices=2,
    ),
    Step(
        "not_cut_on_stale_knowledge", "13:25", "13:55", acts.ask_about_elsewhere, acts.elsewhere_has_supply,
        "By its papers {first} could cut the third since 13:00. Its channels were last heard three hours ago.",
        "{office}/consumers/{elsewhere} — on, and the reasons that stand against a cut",
        "not cut: the office knows that it cannot know",
    ),
    Step(
        "evening_peak", "19:30", "21:00", acts.nothing, acts.only_the_office_has_the_evening,
        "The evening peak. {first} still reads every meter and closes every hour; nothing reaches the hub.",
        "{hub}/balances — {first} counts what is missing, and its loss is unknown, not zero",
        "the office has the evening's hours, the hub has only its neighbour's",
    ),
    Step(
        "day_closed", "00:15", "02:00", acts.nothing, acts.day_is_closed,
        "Midnight has passed. Every office closes its day: one chunk of all readings, sealed and signed.",
        "{office}/energy?day={day} — the day by transformer and feeder, complete",
        "the day is closed, in the dark as well", NEXT_DAY, NEXT_DAY,
    ),
    Step(
        "healed", "00:25", "02:00", acts.heal_the_line, acts.backlog_is_drained,
        "The line is whole again.",
        "{hub}/nodes — money and relays first, then hours, then the day; the backlog falls to nothing",
        "nothing waits any more, and the third one's payment has arrived at the office", NEXT_DAY, NEXT_DAY,
    ),
    Step(
        "hub_complete", "00:30", "02:00", acts.nothing, acts.hub_has_the_whole_day,
        "The hub replaces every provisional hour by the day's final one.",
        "{hub}/balances?level=feeder&period=day&at={day} — four percent were planted on the first feeder",
        "the day is final at every level", NEXT_DAY, NEXT_DAY,
    ),
)  # fmt: skip
