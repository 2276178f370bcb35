"""The root of every error that a person may see. Ground floor; on every walk.

An operator at an office reads an error over the phone to an engineer. So each one has a code that can be dictated, says
what happened, and says what to do next. Errors inside the program (a broken invariant) are ordinary exceptions.
"""


class Fault(Exception):
    """A named failure that a person can act on.

    `code` is short and dictatable (``TQ-MB-03``), `what` says what happened in one sentence, `hint` says what to do or
    what is safe. Subclasses fix the area; nothing catches `Fault` merely to go on.
    """

    def __init__(self, code: str, what: str, hint: str) -> None:
        super().__init__(f"{code}: {what} ({hint})")
        self.code = code
        self.what = what
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """The three parts, for JSON faces."""
        return {"code": self.code, "what": self.what, "hint": self.hint}
