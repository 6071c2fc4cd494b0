"""How old the public prices are: a price list that nobody refreshed is a bill of last season."""

from __future__ import annotations

from datetime import date

from costmodel.money.machines import STALE_AFTER_DAYS

RELEASED = {"0.2.3": date(2026, 11, 10)}
"""The day each release of genai-prices that we were tested with came out; its data has no date."""


def version_words() -> str:
    """Which release the public prices come from, and of when it is."""
    from genai_prices import __version__

    released = RELEASED.get(__version__)
    return f"genai-prices {__version__}" + (f" of {released}" if released else ", date unknown")


def snapshot_warning(today: date) -> str | None:
    """One sentence where the public prices are older than 30 days, or of unknown age."""
    from genai_prices import __version__

    released = RELEASED.get(__version__)
    if released is None:
        return (
            f"nobody knows how old the public prices of genai-prices {__version__} are; check them "
            "against your supplier's page"
        )
    age = (today - released).days
    if age <= STALE_AFTER_DAYS:
        return None
    return (
        f"the public prices are {age} days old (genai-prices {__version__} of {released}): "
        "`pip install -U genai-prices`, or check them against your supplier's page"
    )
