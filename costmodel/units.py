"""How long a day is, in the seconds that clocks and files count in."""

from __future__ import annotations

DAY_S = 86_400
