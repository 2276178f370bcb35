"""What the story's people do and what it waits for, each a few lines. Floor: simulate; payment and link-loss walks.

An act changes the stage; a condition looks at it. Relays are asked at the meters; what an office or the hub should have
done is asked at their own doors.
"""

from typing import Any

from gridmodel.fault import Fault
from gridmodel.period import rfc3339
from simulate.book import Payment
from simulate.demo.cast import BANK, Consumer, Part
from simulate.demo.plan import NEXT_DAY, STORY_DAY, moment
from simulate.demo.records import day_closed, hours_closed, hub_day_final, hub_reader
from simulate.demo.stage import Stage

PAYER_REQUEST = "window-1-0415-0001"
"""The cashier's own name for the payment."""


async def nothing(_: Stage) -> None:
    """An act of watching."""


async def everybody_was_read(stage: Stage) -> bool:
    """Every meter was read after the power cut, and the first office still knows for what it darkened a home before."""
    for node in stage.plan.nodes:
        told = await _status(stage, node.id)
        if told is None or (told["newest_reading_end"] or 0) < stage.plan.story_from or told["meters_silent"]:
            return False
    payer = await explained(stage, Part.PAYER)
    return (payer["relay"]["state"]["code"], payer["relay"]["cause"]["code"]) == ("disconnected", "debt")


async def bring_the_days_papers(stage: Stage) -> None:
    """Forecast, watermarks and the signed mandates of the day."""
    await stage.import_weather()
    await stage.publish_mandates(STORY_DAY)
    await stage.import_watermarks()


async def every_office_may_act(stage: Stage) -> bool:
    """Mandate and watermarks of today are durable at every office."""
    for node in stage.plan.nodes:
        told = await _status(stage, node.id)
        if told is None or told["mandate"] is None or told["mandate"]["not_before"] != moment("00:00"):
            return False
        if any(at < stage.plan.story_from for at in told["watermarks"].values()) or len(told["watermarks"]) < 2:
            return False
    return True


async def cut_the_line(stage: Stage) -> None:
    """A last word of the channels, then the line of the first office breaks."""
    await stage.import_watermarks()
    await stage.lines[_first(stage)].cut(stage.clock.now())


async def line_is_lost(stage: Stage) -> bool:
    """The office has noticed."""
    told = await _status(stage, _first(stage))
    return told is not None and not told["link"]["up"]


async def neighbour_is_dark(stage: Stage) -> bool:
    """The debtor of the office whose line holds was cut."""
    return await _dark(stage, Part.NEIGHBOUR)


async def debtor_is_dark(stage: Stage) -> bool:
    """The debtor was cut by the office alone, while its line was cut."""
    return await _moved_in_the_dark(stage, Part.DEBTOR, closed=False)


async def payer_pays_at_the_office(stage: Stage) -> None:
    """The one who is dark pays the whole debt to the cashier."""
    payer = stage.cast.of(Part.PAYER)
    told = await stage.pay_at_office(payer.node, str(payer.point.account), str(payer.owed_tiyin // 100), PAYER_REQUEST)
    payment = Payment(
        PAYER_REQUEST, payer.node, str(payer.point.account), payer.owed_tiyin, f"desk-{payer.node}", told["at"],
        acknowledged_at=stage.clock.now(), entry=told["entry"],
    )  # fmt: skip
    stage.book.payments[payment.account].append(payment)


async def payer_has_supply(stage: Stage) -> bool:
    """The meter of the payer has closed its relay, while the line was cut."""
    return await _moved_in_the_dark(stage, Part.PAYER, closed=True)


async def elsewhere_pays_at_the_bank(stage: Stage) -> None:
    """The hub knows at once; the office cannot."""
    await _bank(stage, stage.cast.of(Part.ELSEWHERE))


async def neighbour_pays_at_the_bank(stage: Stage) -> None:
    """The hub knows, and the line to that office holds."""
    await _bank(stage, stage.cast.of(Part.NEIGHBOUR))


async def neighbour_has_supply(stage: Stage) -> bool:
    """The meter of the neighbour has closed its relay."""
    return not await _dark(stage, Part.NEIGHBOUR)


async def ask_about_elsewhere(stage: Stage) -> None:
    """What stands against a cut of the one who paid elsewhere, in the office's own words."""
    told = await explained(stage, Part.ELSEWHERE)
    stage.reasons[:] = [reason["code"] for reason in told["decision"]["reasons"]]


async def elsewhere_has_supply(stage: Stage) -> bool:
    """Still not cut, though for all that the office knows the debt stands, and it has said why."""
    return bool(stage.reasons) and not await _dark(stage, Part.ELSEWHERE)


async def only_the_office_has_the_evening(stage: Stage) -> bool:
    """Every office has closed the hour of 19:00; the hub has it from those alone whose lines hold."""
    hour = moment("19:00")
    if not all(hour in hours_closed(stage.files.node_data(node.id), hour - 1) for node in stage.plan.nodes):
        return False
    async with hub_reader(stage) as hub:
        told = await hub.balance("district", "hour", rfc3339(hour))
    known = {area["id"] for area in told["areas"] if area["points_actual"]}
    return known == {node.district for node in stage.plan.nodes[1:]}


async def day_is_closed(stage: Stage) -> bool:
    """Every office has closed the story's day by itself."""
    return all(day_closed(stage.files.node_data(node.id), STORY_DAY) for node in stage.plan.nodes)


async def heal_the_line(stage: Stage) -> None:
    """Bytes pass again."""
    await stage.lines[_first(stage)].heal(stage.clock.now())


async def backlog_is_drained(stage: Stage) -> bool:
    """Nothing waits at any office, and the last thing that the hub said is at every office."""
    for node in stage.plan.nodes:
        told = await _status(stage, node.id)
        if told is None or not told["link"]["up"]:
            return False
        if any(lane["records"] or lane["batches"] for name, lane in told["lanes"].items() if name != "control"):
            return False
    told = await explained(stage, Part.ELSEWHERE)
    return told["money"] is not None and told["money"]["overdue_tiyin"] == 0


async def hub_has_the_whole_day(stage: Stage) -> bool:
    """The story's day is final at the hub, for every district."""
    return await hub_day_final(stage, STORY_DAY)


async def prologue_debtor_is_dark(stage: Stage) -> bool:
    """The payer of the story was cut in its prologue, and the office has booked it."""
    if not await _dark(stage, Part.PAYER):
        return False
    told = await explained(stage, Part.PAYER)
    return bool(told["relay"]["state"]["code"] == "disconnected")


async def explained(stage: Stage, part: Part) -> dict[str, Any]:
    """`edge-node explain` of somebody in the story. Raises DoorFault."""
    one = stage.cast.of(part)
    return await stage.office(one.node, "explain", usage_point=str(one.point.id))


async def _bank(stage: Stage, one: Consumer) -> None:
    account = str(one.point.account)
    payment_id = f"{BANK}-{account}-{NEXT_DAY}"
    at = stage.clock.now()
    stage.book.payments[account].append(
        Payment(payment_id, one.node, account, one.owed_tiyin, BANK, at, entry=payment_id)
    )
    await stage.import_payment(BANK, payment_id)


async def _dark(stage: Stage, part: Part) -> bool:
    one = stage.cast.of(part)
    return await stage.dark(one.node, str(one.point.meter))


async def _moved_in_the_dark(stage: Stage, part: Part, *, closed: bool) -> bool:
    """Whether the last move of that meter's relay is this one and was made without a line."""
    one = stage.cast.of(part)
    told = await stage.meters(one.node, "moves")
    mine = [move for move in told["moves"] if move["meter"] == one.point.meter]
    return bool(mine) and mine[-1]["closed"] is closed and stage.lines[one.node].dark(mine[-1]["at"])


async def _status(stage: Stage, node: str) -> dict[str, Any] | None:
    """The status of a running office, or None while it does not answer."""
    try:
        return await stage.office(node, "status")
    except Fault:
        return None


def _first(stage: Stage) -> str:
    return stage.plan.nodes[0].id
