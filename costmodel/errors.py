"""What can go wrong with money and workloads.

CostModelError
├── UnknownPrice      a model or machine nobody gave a price for (never priced as 0)
├── BadPriceList      a list of hourly prices that breaks its own rules
├── BadUsage          negative, boolean or non-finite token counts
├── BadProjection     counts or traffic that no month can have
├── BadScenario       a scenario file that cannot be simulated
├── BadGoal           a goal that no fleet can meet
├── BadProfile        measurements that no profile can be fitted on
├── NotInstalled      a library of an extra is missing
├── LostCluster       a Ray cluster that cannot be joined, or did not finish the work
└── Unstable          a queue that grows for ever: more work than capacity
"""


class CostModelError(Exception):
    """Base of every error this package raises on purpose; the message says what to do."""

    exit_code = 2


class UnknownPrice(CostModelError):
    """No price is known for the reference; it is an error or a counted exclusion, never 0."""


class BadPriceList(CostModelError):
    """A list of hourly prices with a faulty row: which row, what was found, what is allowed."""


class BadUsage(CostModelError):
    """A usage record that cannot have happened."""


class BadProjection(CostModelError):
    """Evaluation counts or traffic that cannot be projected."""


class BadScenario(CostModelError):
    """A scenario that names the field, what was found and what is allowed."""


class BadTable(CostModelError):
    """A file of rows that cannot be read as it is meant: which file and line, and what to do."""


class Unstable(CostModelError):
    """Work arrives faster than it can be done, so there is no long-run answer."""


class BadProfile(CostModelError):
    """Measurements, or a profile file, that say too little or nothing."""


class BadGoal(CostModelError):
    """A goal nobody can meet; says what is in the way."""

    exit_code = 3


class UnknownFootprint(CostModelError):
    """A machine or a grid that nobody has estimated; says how to give a figure of one's own."""


class NotInstalled(CostModelError):
    """A library of an extra is missing; the message has the line that installs it."""


class LostCluster(CostModelError):
    """A Ray cluster that cannot be joined or did not finish the work; says what happened."""
