"""By what right did that relay open? Intent, mandate, stop, clock, calendar, reading, weather. Floor: simulate.

On the payment walk. Committed rows and the policy's figures, judged by formulas of this page's own. Documents are read
as they were signed, not by the columns beside them. Time is the world's; stamps of the node's wall are taken back to it
(`NodeSight`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gridmodel.period import local_time
from gridmodel.reading import Quality
from simulate.judges.sight import NodeSight, Opening, Verdicts

RACE_S = 10
"""Utility seconds between the last judgement and the contact: one exchange with a slow meter."""
HOUR_S = 3_600
CONTRADICTED_S = 120
"""A whole reply of the hub shows a wall that is wrong by more than this, however old the process is."""
STEPPED_S = 5
"""A wall that is set wrong by more than this parts from the steady clock of a process that runs already."""
FLOOR_SLACK_S = 5
READING_S_MAX = 2 * HOUR_S
"""How long ago the last interval of a home that is cut ended at most."""
CLASSES = {True: "household", False: "company"}
"""Of a point that is a household, or is none."""
MANDATES = "SELECT document, received_at FROM mandate WHERE refused IS NULL AND not_before <= ? ORDER BY counter DESC"
FLOOR_KNOWN = "SELECT value FROM node_state WHERE key = 'clock_floor'"


def mandates_in_force(sight: NodeSight, at: int) -> Iterator[dict[str, Any]]:
    """What is permitted at `at` (UTC seconds): the highest counter whose time has come, and any that came in a race.

    Only mandates for this node and these rules; one that is superseded permits nothing, however long it would last.
    """
    for document, received_at in sight.control.rows(MANDATES, (at,)):
        told: dict[str, Any] = json.loads(bytes(document))["mandate"]
        fits = told["node"] == sight.node and told["policy_version"] == sight.rules.version
        if fits and told["not_before"] <= at < told["expires"] + RACE_S:
            yield told
        if not sight.stamped_within(received_at, at - RACE_S, at):
            return


def weather_against(sight: NodeSight, district: str, at: int, race_s: int = 0) -> str:
    """Why the weather that is known here forbids a cut in `district` at `at`; empty when it permits one."""
    rules = sight.rules
    rows = sight.control.rows("SELECT issued_at, min_c, max_c FROM weather WHERE district = ?", (district,))
    if not rows:
        return "no forecast is known here"
    issued_at, min_c, max_c = rows[0]
    if at - issued_at > rules.weather_max_age_h * HOUR_S + race_s:
        return f"the forecast is {(at - issued_at) // HOUR_S} h old"
    if min_c < rules.cold_moratorium_c:
        return f"{min_c} °C of frost are forecast"
    if max_c > rules.heat_moratorium_c:
        return f"{max_c} °C of heat are forecast"
    return ""


def why_doubtful(sight: NodeSight, at: int, now_s: float) -> str:
    """Why the node may not believe its clock at `at`; empty when it may.

    A machine that starts in an outage looks sound and may be hours off: it believes itself once the hub has answered.
    After that a wall that is wrong parts from its steady clock or from the hub. `now_s` is the virtual second of `at`.
    """
    up_since = sight.up_since()
    if up_since is None:
        return ""
    if sight.answered_s < up_since:
        return "nobody has confirmed its clock since this process began"
    span = next((one for one in sight.clock_spans() if one.begin + RACE_S <= at < one.over), None)
    if span is None:
        return ""
    began_s = now_s - (at - span.begin)
    step_s = span.shown(at) - at
    off = f"its wall is {step_s:+.0f} s off"
    if span.drift_s and abs(step_s) <= CONTRADICTED_S:
        return ""  # it went there by and by
    if abs(step_s) <= CONTRADICTED_S and sight.answered_s >= began_s:
        return ""  # the hub's answer agreed with it, as far as an answer can tell
    if up_since < began_s and abs(step_s) > STEPPED_S:
        return f"{off}, and was set so under this process"
    if began_s <= up_since and abs(step_s) > CONTRADICTED_S:
        return f"{off} since before this process began, and the hub answered"
    floor = sight.control.value(FLOOR_KNOWN)
    if floor is not None and at + step_s < int(floor) - FLOOR_SLACK_S:
        return f"{off}, and shows less than the floor {floor}"
    return ""


@dataclass(slots=True)
class PermitChecker:
    """Judges commands as they leave and contacts as they open."""

    verdicts: Verdicts
    _commanded: set[tuple[str, str]] = field(default_factory=set)

    def command(self, sight: NodeSight, meter: str, intent: str) -> None:
        """The command to open `meter` leaves on the operation `intent`: once, on a cut that is sent and still open."""
        point = str(sight.grid.points[sight.point_of[meter]].id)
        row = sight.control.rows(
            "SELECT usage_point, action, sent_at, result_at FROM relay_operation WHERE id = ?", (intent,)
        )
        if not row or row[0][:2] != (point, "cut") or row[0][2] is None or row[0][3] is not None:
            what = f"told to open on {intent!r:.60}, which is no cut of it that was sent and has no result"
            self.verdicts.against("no_cut_without_intent", sight.node, point, what)
        elif (sight.node, intent) in self._commanded:
            self.verdicts.against("cut_told_once", sight.node, point, f"told to open twice on {intent}")
        self._commanded.add((sight.node, intent))

    def judge(self, opening: Opening, opened_today: int, now_s: float) -> None:
        """A contact opened, the node's `opened_today`th of the local day, at virtual second `now_s`."""
        self._intent(opening)
        self._mandate(opening, opened_today)
        self._stop(opening)
        self._calendar(opening)
        doubt = why_doubtful(opening.sight, opening.at, now_s)
        if doubt:
            self._against("clock_doubt", opening, doubt)
        self._reading(opening, now_s)
        sky = weather_against(opening.sight, opening.district, opening.at, RACE_S)
        if sky and now_s - opening.sight.answered_s <= RACE_S:
            self.verdicts.happened("weather_raced_a_cut")
        elif sky:
            self._against("weather", opening, sky)

    def _reading(self, opening: Opening, now_s: float) -> None:
        """Its consumption is known: the last interval is actual and not too long ago."""
        if now_s - opening.sight.polled_s <= RACE_S:
            return  # a round that commits while the command flies may have changed it
        latest = opening.sight.latest_reading(opening.point, opening.at)
        if latest is None or not -CONTRADICTED_S <= opening.at - latest[0] <= READING_S_MAX + RACE_S:
            self._against("fresh_reading", opening, f"its last reading is {latest and opening.at - latest[0]} s old")
        elif latest[1] != Quality.ACTUAL:
            self._against("fresh_reading", opening, f"its last reading is {Quality(latest[1]).name.lower()}")

    def _intent(self, opening: Opening) -> None:
        """A durable intent of its own: sent just before, without a result yet, or found to have failed too early.

        A queue on the way may hold a command back while the contact is read as closed beside it.
        """
        sight, at = opening.sight, opening.at
        rows = sight.control.rows(
            "SELECT sent_at FROM relay_operation WHERE usage_point = ? AND action = 'cut' AND sent_at IS NOT NULL"
            " AND (result_at IS NULL OR outcome = 'failed')",
            (opening.point,),
        )
        if not any(sight.stamped_within(sent_at, at - sight.command_s_max, at) for (sent_at,) in rows):
            what = f"it was opened without a cut that was sent within {sight.command_s_max} s and has no other result"
            self._against("no_cut_without_intent", opening, what)

    def _mandate(self, opening: Opening, opened_today: int) -> None:
        """A mandate that is in force for this class, whose quota of the local day is not spent."""
        sight = opening.sight
        wanted = CLASSES[sight.grid.points[opening.index].household]
        standing = [one for one in mandates_in_force(sight, opening.at) if wanted in one["account_classes"]]
        if not standing:
            self._against("no_cut_without_mandate", opening, "no mandate that is in force is known here")
        elif opened_today > (quota := max(one["quota_per_day"] for one in standing)):
            self._against("mandate_quota", opening, f"cut {opened_today} of the day, the mandate allows {quota}")

    def _stop(self, opening: Opening) -> None:
        stops = opening.sight.control.rows("SELECT stopped_at FROM cuts_stopped WHERE lifted_at IS NULL")
        if any(not opening.sight.stamped_within(at, opening.at - RACE_S, opening.at) for (at,) in stops):
            self._against("no_cut_when_stopped", opening, "a person had stopped all cuts")

    def _calendar(self, opening: Opening) -> None:
        rules, local = opening.sight.rules, local_time(opening.at, opening.sight.grid.spec.zone)
        minute = local.hour * 60 + local.minute
        inside = any(opens <= minute < closes for opens, closes in rules.allowed_minutes)
        late_by_race = any(opens <= minute - 1 < closes for opens, closes in rules.allowed_minutes)
        if not (inside or late_by_race):
            self._against("allowed_hours", opening, f"opened at {local:%H:%M} local time")
        if local.weekday() in rules.no_cut_weekdays or local.date().isoformat() in rules.no_cut_days:
            self._against("allowed_hours", opening, f"opened on {local:%a %Y-%m-%d}, a no-cut day")

    def _against(self, checker: str, opening: Opening, what: str) -> None:
        self.verdicts.against(checker, opening.sight.node, opening.point, what)
