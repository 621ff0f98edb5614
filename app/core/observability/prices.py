"""What tokens cost, from the operator's `PRICES_FILE`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

_MILLION = 1_000_000
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """Prices of one model for a million tokens each, in whatever currency the operator counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_per_million: Amount
    output_per_million: Amount
    cached_input_per_million: Amount | None = None
    """Of input that the upstream had cached; unset: the same as other input."""

    def cost(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """Return the price of one answer; `cached_tokens` are a part of `input_tokens`."""
        cached = self.cached_input_per_million
        cached = self.input_per_million if cached is None else cached
        fresh_cost = (input_tokens - cached_tokens) * self.input_per_million
        return (fresh_cost + cached_tokens * cached + output_tokens * self.output_per_million) / _MILLION


_PRICES = TypeAdapter(dict[str, Price])


def load_prices(path: Path | None) -> Mapping[str, Price]:
    """Read prices by model, as `Price` holds them; without a file there are none.

    Raises `ValueError` in one line for a file that is missing or says something else.
    """
    if path is None:
        return {}
    try:
        return _PRICES.validate_json(path.read_bytes())
    except OSError as exc:
        raise ValueError(f"PRICES_FILE cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"PRICES_FILE: {place}: {first['msg']}") from exc


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    """Find a model's price; a dated snapshot such as `gpt-6-luna-2026-08-01` costs what its model does."""
    while model:
        if (price := prices.get(model)) is not None:
            return price
        model = model.rpartition("-")[0]
    return None
