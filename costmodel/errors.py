"""What can go wrong with money and workloads.

CostModelError
├── UnknownPrice      a model or machine nobody gave a price for (never priced as 0)
├── BadUsage          negative, boolean or non-finite token counts
└── BadScenario       a scenario file that cannot be simulated
"""


class CostModelError(Exception):
    """Base of every error this package raises on purpose; the message says what to do."""

    exit_code = 2


class UnknownPrice(CostModelError):
    """No price is known for the reference; it is an error or a counted exclusion, never 0."""


class BadUsage(CostModelError):
    """A usage record that cannot have happened."""


class BadScenario(CostModelError):
    """A scenario that names the field, what was found and what is allowed."""
