"""What papers say of a place: registers at which meters came and went, put against what is booked. Pure.

Room: metering; reading walk. A *story* is one channel of one point: its stays in order, each with the registers that a
fitter wrote down at its beginning and end. `mended` goes through it with the stored intervals and gives what is missing
or differs: the old meter's part up to its end and the new one's from its beginning (any number of meters that nobody
ever read may lie in between), the first energy of a meter where none was before, the last of one that went, and what a
plan that came earlier or later than the crew left open within a stay. The sum of what is booked between two registers
that were read is always that of the papers; where it is so already, nothing is given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from edge_node.metering.polling import rules_of
from edge_node.store.history import Stored
from gridmodel.identity import MeterId
from gridmodel.network import Installation
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel, Estimation, IntervalReading, Quality, RegisterRead
from gridmodel.registry import Registry
from gridmodel.vee import DAY_S, Baseline, LastRegister, VeeRules, counted_wh, is_the_next_ones
from protocols.profile import MeterProfile


@dataclass(frozen=True, slots=True)
class Paper:
    """One stay as one channel counted it; energies in primary Wh by its own multiplier."""

    meter: MeterId
    began_at: int
    ended_at: int
    start_wh: int | None
    """None where nobody wrote it down."""
    final_wh: int | None
    multiplier: Multiplier
    rules: VeeRules


@dataclass(frozen=True, slots=True)
class Story:
    """All stays at a point that counted a channel, in order of time."""

    point: str
    channel: Channel
    papers: tuple[Paper, ...]

    @property
    def length(self) -> int:
        """Seconds of an interval."""
        return self.papers[-1].rules.interval_minutes * 60

    def moments(self, since: int) -> list[int]:
        """When meters came or went with a register, after `since`; also what lies ahead."""
        came = (one.began_at for one in self.papers if one.start_wh is not None)
        went = (one.ended_at for one in self.papers if one.final_wh is not None)
        return sorted({at for at in (*came, *went) if at > since})


@dataclass(frozen=True, slots=True)
class Mend:
    """Intervals to be booked together."""

    intervals: tuple[IntervalReading, ...]
    replaces: bool
    """Whether any of them is booked already, with other energy."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A stay's stored intervals without a hole among them."""

    first: Baseline
    """The register with which they begin."""
    registers: tuple[Baseline, ...]
    """Those that were read, in order; at least one."""

    @property
    def last(self) -> Baseline:
        """The register with which they end."""
        return self.registers[-1]

    def shorter(self) -> list["_Span"]:
        """Without the last register; nothing where it was the only one."""
        left = self.registers[:-1] or ((self.first,) if self.first.at < self.last.at else ())
        return [_Span(self.first, left)] if left else []

    def times(self, ratio: Fraction) -> "_Span":
        """The same meter under another multiplier."""
        first, *others = (Baseline(one.at, int(one.register_wh * ratio)) for one in (self.first, *self.registers))
        return _Span(first, tuple(others))


@dataclass(frozen=True, slots=True)
class _Piece:
    """Energy of one meter between two registers."""

    energy_wh: int
    start: int
    """It lies in the intervals that end in (start, end]; in none when `end` is not later."""
    end: int
    begun_wh: int
    """The meter's register at its beginning."""
    register_wh: int
    """And at its end."""


@dataclass(slots=True)
class _Run:
    """Pieces that follow each other between two registers that were read, or begin or end with a paper."""

    pieces: list[_Piece] = field(default_factory=list)
    fits: bool = True

    def add(self, earlier: Baseline, later: Baseline, end: int, rules: VeeRules, slack_wh: int) -> None:
        """A piece; one register may be above the other by `slack_wh`, as a person rounds. Whatever fits not spoils all.

        `end` is the end of the last interval it lies in.
        """
        register_wh = later.register_wh
        if 0 < earlier.register_wh - register_wh <= slack_wh:
            register_wh = earlier.register_wh
        at = max(later.at, earlier.at + rules.interval_minutes * 60)
        read = RegisterRead("", MeterId(""), Channel.IMPORT, at, register_wh)
        energy_wh = counted_wh(earlier, read, rules)
        if isinstance(energy_wh, int):
            self.pieces.append(_Piece(energy_wh, earlier.at, end, earlier.register_wh, later.register_wh))
        else:
            self.fits = False


def stories(registry: Registry, profiles: Mapping[str, MeterProfile], since: int) -> list[Story]:
    """The story of every channel with a register on paper after `since`. Heavy: a task for `compute`."""
    points = {
        one.point
        for one in registry.installations
        if (one.start_registers_wh and one.valid_from > since) or (one.final_registers_wh and one.valid_to > since)
    }
    stays: dict[str, list[Installation]] = {}
    for one in registry.installations:
        if one.point in points:
            stays.setdefault(one.point, []).append(one)
    shared: dict[tuple[str, Multiplier], VeeRules] = {}
    found = []
    for point in sorted(stays):
        papers: dict[Channel, list[Paper]] = {}
        for placed in sorted(stays[point], key=lambda one: one.valid_from):
            for channel, paper in _papers(registry, placed, profiles, shared):
                papers.setdefault(channel, []).append(paper)
        told = (Story(point, channel, tuple(of_channel)) for channel, of_channel in sorted(papers.items()))
        found += [one for one in told if one.moments(since)]
    return found


def _papers(
    registry: Registry,
    placed: Installation,
    profiles: Mapping[str, MeterProfile],
    shared: dict[tuple[str, Multiplier], VeeRules],
) -> Iterator[tuple[Channel, Paper]]:
    name = registry.meter[placed.meter].profile
    profile, key = profiles.get(name), (name, placed.multiplier)
    if key not in shared:
        minutes = registry.interval_minutes
        shared[key] = VeeRules(minutes, 0, None) if profile is None else rules_of(profile, placed.multiplier, minutes)
    starts = dict(zip(placed.channels, placed.start_registers_wh, strict=False)) if profile else {}
    finals = dict(zip(placed.channels, placed.final_registers_wh, strict=False)) if profile else {}
    for channel in placed.channels:
        start, final = starts.get(channel), finals.get(channel)
        yield (
            channel,
            Paper(
                placed.meter,
                placed.valid_from,
                placed.valid_to,
                None if start is None else placed.multiplier.apply(start),
                None if final is None else placed.multiplier.apply(final),
                placed.multiplier,
                shared[key],
            ),
        )


def mended(
    story: Story, stored: Mapping[int, Stored], window: range, latest: LastRegister | None, now: int
) -> list[Mend]:
    """What is to be booked so that the store says what the papers say.

    `stored` are the intervals at the ends in `window`, which has no hole; `latest` is the channel's last register,
    asked for before them.
    """
    made = (_mend(story, run, stored) for run in _runs(story, stored, window, latest, now) if run.fits and run.pieces)
    return [one for one in made if one is not None]


def _runs(
    story: Story, stored: Mapping[int, Stored], window: range, latest: LastRegister | None, now: int
) -> Iterator[_Run]:
    length, papers = story.length, story.papers
    run, before = _Run(), None
    for place, paper in enumerate(papers):
        following = papers[place + 1] if place + 1 < len(papers) else None
        begun, ended = paper.began_at // length * length, -(-paper.ended_at // length) * length
        alone = before is None or before.ended_at < begun
        if alone:
            yield run
            run = _Run()
        led = alone or bool(run.pieces)  # one register alone parts no interval between two meters
        start = Baseline(begun, paper.start_wh) if led and paper.start_wh is not None else None
        final = None if paper.final_wh is None or paper.ended_at > now else Baseline(ended, paper.final_wh)
        spans, hand_wh = _spans(paper, stored, window, latest, now), paper.rules.hand_read_wh_max
        if spans and following is not None and _is_of_next(spans[-1].last, paper, following):
            spans[-1:] = spans[-1].shorter()
        if spans:
            if start is not None and before is not None and (ratio := _misread(before, paper, start, spans[0])):
                known = spans[0].times(ratio)
                run.add(start, known.first, known.first.at, paper.rules, hand_wh)
                for earlier, later in pairwise([known.first, *known.registers, *(one.first for one in spans[1:2])]):
                    run.add(earlier, later, later.at, paper.rules, 0)
                yield run
                spans = spans[1:] or [known]
            elif start is not None:
                run.add(start, spans[0].first, spans[0].first.at, paper.rules, hand_wh)
                yield run
            yield from (_hole(paper, earlier, later) for earlier, later in pairwise(spans))
            run, start = _Run(), spans[-1].last
        if start is None or final is None:
            run = _Run()
        else:
            run.add(start, final, _last_end(paper, following, length), paper.rules, hand_wh)
        before = paper
    yield run


def _misread(before: Paper, paper: Paper, start: Baseline, span: _Span) -> Fraction | None:
    """By how much more a span counts than is booked: its registers were taken times the multiplier that ended before.

    The paper of new transformers came later than the reads. None where the span fits the paper as it is.
    """
    ratio = Fraction(paper.multiplier.numerator * before.multiplier.denominator) / (
        paper.multiplier.denominator * before.multiplier.numerator
    )
    plain, other = _Run(), _Run()
    plain.add(start, span.first, 0, paper.rules, paper.rules.hand_read_wh_max)
    other.add(start, span.times(ratio).first, 0, paper.rules, paper.rules.hand_read_wh_max)
    return ratio if ratio != 1 and not plain.fits and other.fits else None


def _is_of_next(last: Baseline, paper: Paper, following: Paper) -> bool:
    """Whether the register at the very end of a stay was read of the meter that took over in that second."""
    if paper.final_wh is None or following.start_wh is None or not last.at == paper.ended_at == following.began_at:
        return False
    return is_the_next_ones(last.register_wh, paper.final_wh, following.start_wh)


def _hole(paper: Paper, earlier: _Span, later: _Span) -> _Run:
    """What a stay's own registers say of intervals that nobody booked: the registry knew another meter then."""
    run = _Run()
    if later.first.at > earlier.last.at:
        run.add(earlier.last, later.first, later.first.at, paper.rules, 0)
    return run


def _last_end(paper: Paper, following: Paper | None, length: int) -> int:
    """The end of the last interval that a stay has a part of: that of the exchange where another follows in it."""
    ended = -(-paper.ended_at // length) * length
    shared = following is not None and following.began_at < ended
    return ended if shared or paper.ended_at == ended else ended - length


def _spans(
    paper: Paper, stored: Mapping[int, Stored], window: range, latest: LastRegister | None, now: int
) -> list[_Span]:
    """What was read of the stay's own meter, but for the interval in which it came."""
    length = window.step
    first = paper.began_at // length * length + length
    ends = range(max(window.start, first + length), min(paper.ended_at, now, window[-1]) + 1, length)
    spans = list(_unbroken(stored, ends))
    came = stored.get(first) if not spans and first <= paper.ended_at else None
    if came is not None and came.register_wh is not None:
        at_first = Baseline(first, came.register_wh)
        spans.append(_Span(at_first, (at_first,)))
    known = latest is not None and latest.meter == paper.meter and paper.ended_at > now and window[-1] + length > now
    if latest is not None and known and latest.at >= (spans[-1].last.at + length if spans else first):
        at_last = Baseline(latest.at, latest.register_wh)
        spans.append(_Span(at_last, (at_last,)))
    return spans


def _unbroken(stored: Mapping[int, Stored], ends: range) -> Iterator[_Span]:
    """Intervals without a hole, and without a step between their registers that their energies do not tell."""
    begun, energy_wh, registers = ends.start - ends.step, 0, list[Baseline]()
    before = stored.get(begun)
    shared = before is not None and before.register_wh is None  # a sum that was shared out over what is not theirs, too
    for end in ends:
        one = stored.get(end)
        if one is None:
            if len(registers) > 1:
                yield _Span(registers[0], tuple(registers[1:]))
            begun, energy_wh, registers, shared = end, 0, [], False
            continue
        energy_wh += one.energy_wh
        if one.register_wh is None:
            continue
        here, wrapped = Baseline(end, one.register_wh), one.quality is Quality.SUSPECT and one.register_wh < energy_wh
        opening = here if wrapped or shared else Baseline(begun, one.register_wh - energy_wh)
        shared = False
        if registers and not wrapped and opening != registers[-1]:
            if len(registers) > 1:
                yield _Span(registers[0], tuple(registers[1:]))
            registers = []
        registers += [here] if registers else [opening, here]
        begun, energy_wh = end, 0
    if len(registers) > 1:
        yield _Span(registers[0], tuple(registers[1:]))


def _mend(story: Story, run: _Run, stored: Mapping[int, Stored]) -> Mend | None:
    """The run as intervals; None when they are booked so, or too far apart to be one story."""
    length, pieces = story.length, run.pieces
    if pieces[-1].end - pieces[0].start > story.papers[-1].rules.gap_days_max * DAY_S:
        return None
    energies, estimated = _shared_out(pieces, length)
    if not energies:
        return _at_the_end(story, pieces, stored)
    booked = [stored[end].energy_wh for end in energies if end in stored]
    if len(booked) == len(energies) and sum(booked) == sum(energies.values()):
        return None
    whole = [piece for piece in pieces if piece.end > piece.start]
    parted = (here for here, following in pairwise(whole) if following.start >= here.end)
    registers = {piece.end: piece.register_wh for piece in (*parted, whole[-1])}
    return Mend(tuple(_intervals(story, energies, estimated, registers)), bool(booked))


def _shared_out(pieces: Sequence[_Piece], length: int) -> tuple[dict[int, int], set[int]]:
    """Energies by interval end, and the ends whose share is an estimate; what has no interval goes to the next."""
    energies: dict[int, int] = {}
    estimated: set[int] = set()
    waiting_wh = 0
    for piece in pieces:
        count = (piece.end - piece.start) // length
        for n in range(count):
            end = piece.start + (n + 1) * length
            share = piece.energy_wh * (n + 1) // count - piece.energy_wh * n // count
            energies[end] = energies.get(end, 0) + share + waiting_wh
            waiting_wh = 0
            if count > 1:
                estimated.add(end)
        if count <= 0:
            waiting_wh += piece.energy_wh
    if energies:
        energies[max(energies)] += waiting_wh
    return energies, estimated


def _at_the_end(story: Story, pieces: Sequence[_Piece], stored: Mapping[int, Stored]) -> Mend | None:
    """The last minutes of a meter that went within an interval: they belong to the one before, its last.

    Told once: from then on that interval has the final register. A meter that hung there for minutes alone has none.
    """
    tail, last = pieces[0], stored.get(pieces[0].start)
    if last is None or last.register_wh != tail.begun_wh or not tail.energy_wh:
        return None
    energy_wh = last.energy_wh + tail.energy_wh
    told = IntervalReading(story.point, story.channel, last.end, energy_wh, last.quality, tail.register_wh)
    return Mend((told,), replaces=True)


def _intervals(
    story: Story, energies: Mapping[int, int], estimated: set[int], registers: Mapping[int, int]
) -> Iterable[IntervalReading]:
    for end in sorted(energies):
        yield IntervalReading(
            story.point,
            story.channel,
            end,
            energies[end],
            Quality.ESTIMATED if end in estimated else Quality.ACTUAL,
            registers.get(end),
            Estimation.INTERPOLATION if end in estimated else Estimation.NONE,
        )
