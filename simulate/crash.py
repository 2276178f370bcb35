"""The death of a simulated process. Top floor.

It is no `Exception`: nothing in the product may catch it and go on, exactly as nothing catches a power cut.
"""


class SimulatedCrash(BaseException):
    """Raised inside a node at a chosen event; `who` died, `where` names the event."""

    def __init__(self, who: str, where: str) -> None:
        super().__init__(f"{who} crashed {where}")
        self.who = who
        self.where = where
