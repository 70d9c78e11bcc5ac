"""What can go wrong with rules.

Errors::

    RulesError              the rules folder does not say what it should; one line per problem
    ModificationError       a rule cannot change an instance as it says: nothing of it may be delivered
    CrosswalkError          a crosswalk's answer is of no use (raised by the lookup; becomes a ModificationError)
    CrosswalkUnavailableError   a crosswalk cannot be asked now: goes through `evaluate` as it is, to be tried again
"""

import errno


class RulesError(Exception):
    """The rules cannot be used. The text has one line `file:line: field: problem` for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CrosswalkError(Exception):
    """A crosswalk's answer is of no use, for instance ambiguous. The text holds no values."""


class CrosswalkUnavailableError(ConnectionError):
    """A crosswalk cannot be asked now. The instance is as it was; evaluate it again later."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ECONNREFUSED, text)


class ModificationError(Exception):
    """A modification failed. The text names ruleset, rule, element and reason, and never a value.

    An instance whose modification failed must not be delivered anywhere: what it was to hide is still in it.
    """

    def __init__(self, rule: str, element: str, reason: str) -> None:
        super().__init__(f"rule {rule}: {element}: {reason}")
        self.rule = rule
        self.element = element
        self.reason = reason
