"""PRICES_FILE: read or refused in one line, and what it makes of tokens."""

import json

import pytest

from app.core.observability.run_metrics import load_prices, price_of
from main import create_app
from tests.support import make_settings

LUNA = {"input_per_million": 1, "output_per_million": 4, "cached_input_per_million": 0.25}


@pytest.fixture
def write(tmp_path):
    def save(content):
        path = tmp_path / "prices.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return save


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "Invalid JSON"),
        ({"m": {"input_per_million": 1}}, "m.output_per_million: Field required"),
        ({"m": LUNA | {"input_per_million": -1}}, "m.input_per_million"),
        ({"m": LUNA | {"per_call": 1}}, "m.per_call"),
        ([], "the file"),
    ],
)
def test_a_wrong_file_stops_the_start_in_one_line(write, content, told):
    with pytest.raises(ValueError, match="PRICES_FILE") as caught:
        create_app(make_settings(prices_file=write(content)))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_stops_the_start(tmp_path):
    with pytest.raises(ValueError, match=r"PRICES_FILE=.*none.json cannot be read: No such file"):
        load_prices(tmp_path / "none.json")


def test_cached_input_has_its_own_price(write):
    price = load_prices(write({"gpt-6-luna": LUNA}))["gpt-6-luna"]
    assert price.cost(1_000_000, 400_000, 500_000) == pytest.approx(0.6 + 0.1 + 2)


@pytest.mark.parametrize(
    ("model", "is_known"),
    [
        ("gpt-6-luna", True),
        ("gpt-6-luna-2026-08-01", True),
        ("gpt-6", False),
        ("gpt-6-lunar", False),
        ("", False),
    ],
)
def test_a_snapshot_costs_what_its_model_does(write, model, is_known):
    assert (price_of(load_prices(write({"gpt-6-luna": LUNA})), model) is not None) is is_known
