"""What a long test shows and a short one cannot: memory, descriptors and latency that creep."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from loadtests.figures.load_report import LoadReport

SETTLING = 0.2
"""The first fifth is left out of the slope: caches fill, pools grow."""
TELLING_S = 300.0
"""A shorter run has a slope too, but it tells nothing of an hour."""


class SoakDrift(BaseModel):
    """Change over the measured window; None where the server could not be watched."""

    model_config = ConfigDict(frozen=True)

    rss_mb_per_h: float | None
    """Least-squares slope after the first fifth."""
    rss_mb: tuple[float, float] | None
    """At the first and last sample used."""
    descriptors: tuple[int, int] | None
    p99_ms: tuple[float | None, float | None]
    """Of the first and the last quarter of the window."""

    @property
    def words(self) -> str:
        """Say it in one line."""
        if self.rss_mb_per_h is None or self.rss_mb is None or self.descriptors is None:
            return "the server could not be watched"
        before, after = ("not known" if p99 is None else f"{p99:.1f} ms" for p99 in self.p99_ms)
        return (
            f"memory {self.rss_mb[0]:.1f} to {self.rss_mb[1]:.1f} MB "
            f"({self.rss_mb_per_h:+.2f} MB/h), descriptors {self.descriptors[0]} to "
            f"{self.descriptors[1]}, p99 {before} in the first quarter, "
            f"{after} in the last"
        )


def drift_of(report: LoadReport) -> SoakDrift:
    """Compare the beginning of a run with its end."""
    settled = [u for u in report.usage if u.at_s >= SETTLING * report.spec.duration_s]
    slope = None
    if len(settled) >= 3:
        slope = 3600 * float(
            np.polyfit([u.at_s for u in settled], [u.rss_mb for u in settled], 1)[0]
        )
    quarters = report.quarters_ms
    return SoakDrift(
        rss_mb_per_h=slope,
        rss_mb=(settled[0].rss_mb, settled[-1].rss_mb) if settled else None,
        descriptors=(settled[0].descriptors, settled[-1].descriptors) if settled else None,
        p99_ms=(quarters[0].p99, quarters[-1].p99) if quarters else (None, None),
    )
