"""The one base of what is read from files and written to them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Data that never changes and refuses fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
