"""The report of what turns used."""

from typing import Literal

from pydantic import BaseModel, Field


class Sums(BaseModel):
    """Sums over turns."""

    turns: int = Field(description="Runs and chats, however many responses each took.")
    users: int = Field(description="Different callers; 0 where callers are not told apart.")
    input_tokens: int
    cached_tokens: int = Field(description="A part of the input tokens.")
    output_tokens: int
    cost: float | None = Field(description="In the currency of PRICES_FILE; null without a price.")
    failed: int = Field(description="Turns that failed, expired or stayed incomplete.")


class Percentiles(BaseModel):
    """Times in milliseconds; null where none was measured."""

    p50: int | None
    p95: int | None


class FailureCount(BaseModel):
    """How many turns ended with a code."""

    code: str
    turns: int


class ModelSums(Sums):
    """Sums of one model."""

    model: str


class DaySums(Sums):
    """Sums of one day, in UTC."""

    day: str


class FeedbackSums(BaseModel):
    """Thumbs."""

    up: int
    down: int


class ThreadDown(BaseModel):
    """A thread with a thumb down."""

    thread_id: str = Field(description="As its owner knows it.")
    down: int
    last_at: str


class UsageReport(Sums):
    """The report of some days, the last of which is today."""

    object: Literal["usage.report"]
    days: int
    first_day: str
    last_day: str
    first_text_ms: Percentiles = Field(description="From a streamed turn's start to its first text.")
    answer_ms: Percentiles = Field(description="From a turn's start to its end, calls of tools included.")
    failures: list[FailureCount]
    models: list[ModelSums]
    feedback: FeedbackSums
    threads_down: list[ThreadDown] = Field(description="The twenty that got a thumb down last.")
    by_day: list[DaySums]
