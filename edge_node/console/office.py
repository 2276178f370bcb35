"""What the office's pages stand on: the node as people see it, its store, its rules, the face. Room: console.

Made once by whoever serves the console; handlers get it from the application.
"""

from dataclasses import dataclass

from edge_node.console.face import NodeFace
from edge_node.store.listing import Listing
from edge_node.store.opening import EdgeStore
from gridmodel.clock import Compute, Entropy, IoClock, UtilityClock
from gridmodel.fault import Fault
from gridmodel.identity import NodeId
from gridmodel.policy_rules import PolicyRules
from hosting.i18n import Language, Translator
from hosting.territory import TerritoryFault, country
from hosting.web_face import Face, Notice, Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """One office."""

    node: NodeFace
    name: NodeId
    store: EdgeStore
    rules: PolicyRules
    clock: UtilityClock
    io_clock: IoClock
    entropy: Entropy
    compute: Compute
    language: Language

    @property
    def zone(self) -> str:
        """Local time."""
        return self.node.zone

    @property
    def listing(self) -> Listing:
        """Reads for lists."""
        return Listing(self.store.control, self.store.readings.segments)

    def face(self) -> Face:
        """The face of these pages."""
        return Face(
            "edge_node.console",
            house="office",
            title=self.title,
            zone=self.zone,
            clock=self.clock,
            default=self.language,
            sections=sections,
            wordings=wording,
            notices=self.notices,
        )

    def notices(self, t: Translator) -> tuple[Notice, ...]:
        """What every page says: a lost link, since what is known here of the world outside is as old as that."""
        link = self.node.link()
        if link.up or not link.since:
            return ()
        return (
            Notice(
                "warn",
                t.gettext("The link to the hub is lost since {moment}", moment=t.moment(link.since, self.zone)),
                t.gettext(
                    "The office works on: payments are taken, meters read. Nothing is lost, it waits here."
                    " What is paid elsewhere meanwhile is not known here."
                ),
            ),
        )

    def title(self, t: Translator) -> str:
        """What the office is called: its districts, or the node's id before a registry came."""
        registry = self.store.registries.newest
        names = [] if registry is None else [district_name(t, one) for one in registry.districts[:2]]
        return f"{', '.join(names)} · {self.name}" if names else str(self.name)


def district_name(t: Translator, soato: str) -> str:
    """A district in the reader's language; its code where a rehearsal made it up."""
    try:
        return country().district(soato).names.in_language(t.language.value)
    except TerritoryFault:
        return soato


def sections(t: Translator) -> tuple[Section, ...]:
    """The main navigation."""
    _ = t.gettext
    return (
        Section("/", _("Office")),
        Section("/consumers", _("Consumers")),
        Section("/desk", _("Desk")),
        Section("/energy", _("Energy")),
        Section("/meters", _("Meters")),
        Section("/stop", _("Stop cuts")),
    )


def wording(t: Translator, fault: Fault) -> str | None:
    """What a cashier meets daily, in words; every other fault is dictated by its code."""
    _ = t.gettext
    no_account = _("This office has no such account. Check the number again.")
    said = {
        "LG-01": _("This name with this secret is not known. Check both; capital letters count."),
        "LG-02": _("Too many wrong secrets. Wait ten minutes, or let a colleague do it."),
        "LG-03": _("This person may not do that. Ask a colleague who may."),
        "QT-01": _("The amount cannot be read. Write soʻm with at most two decimals: 12500.50"),
        "QT-02": _("This amount is not possible. Check the zeros."),
        "PY-01": no_account,
        "CN-04": no_account,
        "PY-02": _("This amount cannot be paid at a desk. Check the zeros."),
        "PY-05": _("This form was used for another payment already. Begin a new one."),
        "SU-01": _("This office has no such consumer."),
        "SU-02": _("The list of consumers has not come from the centre yet."),
        "QT-04": _("This register cannot be read. Write kWh with at most three decimals: 12345.678"),
        "FW-01": _("The old and the new meter do not fit together. Check which meter went and which came."),
        "FW-02": _("A register is missing or not possible. Write what the display shows, in kWh."),
        "FW-03": _("The number of at least one seal is needed."),
        "FW-04": _("An exchange needs a photo and the last register of the old meter."),
        "FW-05": _("A serial number or time is missing or not possible."),
        "FW-10": _("This form was used for another work already. Begin a new one."),
        "FW-11": _("This office has no such usage point."),
        "FW-12": _("No such meter hung there then. Enter earlier works first."),
        "FW-13": _("Another meter hangs there. Record an exchange, or its removal."),
        "FW-14": _("This meter hangs at another point. Record its move."),
        "FW-15": _("This meter is known with another serial number or model."),
        "FW-16": _("Something later is on record. Enter works in the order in which they were done."),
        "FW-17": _("The registers are not those that this meter counts."),
        "FW-18": _("Another meter answers. Look whether the right one hangs there, and at its address."),
        "FW-20": _("This time lies ahead."),
        "FW-21": _("That is too long ago. The centre enters it."),
        "FW-22": _("There is no such model of meter. Ask the engineer for the name of its profile."),
        "FW-23": _("The last register lies below what was read before. Look at the photo again."),
        "FW-24": _("The last register is higher than can be. Look for a digit too many."),
        "FW-25": _("The old meter was read after that time. Check the time."),
        "FW-26": _("This model tells no serial number, so nobody can prove it by reading. Its relay stays unmoved."),
        "FW-27": _("The meter does not answer. Look at it and its line, then try again."),
        "FW-29": _("This is on record already."),
        "FW-31": _("The photo is too large. Take it with less resolution."),
        "FW-32": _("This is no photo."),
    }
    return said.get(fault.code.removeprefix("TQ-"))
