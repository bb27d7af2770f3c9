"""How often the worker looks, and how long it waits; every field is also the variable STUDIO_<NAME>."""

from __future__ import annotations

from functools import cache

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Timing(BaseSettings):
    """Times in seconds."""

    model_config = SettingsConfigDict(env_prefix="STUDIO_", extra="ignore", env_ignore_empty=True)

    ship_seconds: float = Field(0.5, gt=0, description="How often a child's events become rows.")
    reconcile_seconds: float = Field(15, gt=0, description="How often a worker looks for runs nobody told it about.")
    reaper_seconds: float = Field(10, gt=0, description="How often leases that ran out are looked for.")
    save_seconds: float = Field(600, gt=0, description="How long a stopped run may take to evaluate and save.")
    discard_seconds: float = Field(30, gt=0, description="How long a discarded run may take to end.")
    shutdown_seconds: float = Field(30, gt=0, description="How long runs may take to checkpoint when the worker stops.")
    player_idle_seconds: float = Field(900, gt=0, description="How long an unused playground model stays in memory.")
    answer_seconds: float = Field(3600, gt=0, description="How long the words of an answer stay in the broker.")
    light_slots: int = Field(2, ge=1, description="Inspections, exports and combinations at once.")
    players: int = Field(2, ge=1, description="Playground models in memory at once.")


@cache
def timing() -> Timing:
    """Return this process's times."""
    return Timing()  # pyright: ignore[reportCallIssue]
