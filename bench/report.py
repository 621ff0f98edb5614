"""Tables of what was measured: medians, spread, ratios, and the machine."""

import importlib.metadata
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from bench.measures import Numbers
from bench.variants import Variant

_UNITS = {"per_core": "/s and core", "cpu_us": "µs", "p50_ms": "ms", "added_ms": "ms", "kib": "KiB"}
_PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "aiohttp", "openai", "pydantic")


@dataclass
class Row:
    """One measurement of all variants; `key` names the number that counts."""

    name: str
    title: str
    key: str
    found: dict[str, list[Numbers]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def add(self, variant: Variant, numbers: Numbers) -> None:
        """Keep one round's numbers."""
        self.found.setdefault(variant.name, []).append(numbers)
        self.titles[variant.name] = variant.title

    def median(self, variant: Variant, key: str) -> float:
        """Return the median over the rounds."""
        return self.median_of(variant.name, key)

    def median_of(self, name: str, key: str) -> float:
        """Return the median over the rounds of a variant by name."""
        return statistics.median(numbers[key] for numbers in self.found[name])

    def ratio(self, name: str, other: str) -> float | None:
        """Return how `name` compares with `other`: above 1 is more work a core, or less time or memory.

        Ratios are taken within each round, where both met the same machine, and their median counts.
        """
        if name not in self.found or other not in self.found:
            return None
        pairs = zip(self.found[name], self.found[other], strict=False)
        ratios = [one[self.key] / two[self.key] for one, two in pairs if two[self.key] > 0]
        if not ratios:
            return None
        found = statistics.median(ratios)
        return found if self.key == "per_core" else 1 / found if found else None


def line(row: Row) -> str:
    """Return one row as a line for somebody who watches."""
    found = (f"{name} {_number(row.median_of(name, row.key))}" for name in row.found)
    return f"{row.title} ({_UNITS[row.key]}): " + ", ".join(found)


def whole(rows: list[Row], rounds: int) -> str:
    """Return the report in Markdown."""
    return "\n".join(["", *_machine(rounds), "", *_table(rows), "", *_details(rows), ""])


def _machine(rounds: int) -> list[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return [
        f"Machine: {_processor()}, {os.cpu_count()} cores, {system}; load average {os.getloadavg()[0]:.1f}.",
        f"Packages: {versions}.",
        f"{rounds} rounds: medians (lowest–highest). Rates are per second of the service's CPU time.",
    ]


def _table(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row.found))
    head = "| | " + " | ".join([*names, "soloist ÷ floor", "soloist ÷ documented"]) + " |"
    lines = [head, "|---" * (len(names) + 3) + "|"]
    for row in rows:
        cells = [_cell(row, name) for name in names]
        ratios = [row.ratio("soloist", other) for other in ("floor", "documented")]
        cells += [f"{ratio:.2f} ×" if ratio else "" for ratio in ratios]
        lines.append(f"| {row.title}, {_UNITS[row.key]} | " + " | ".join(cells) + " |")
    return lines


def _cell(row: Row, name: str) -> str:
    if name not in row.found:
        return ""
    values = [numbers[row.key] for numbers in row.found[name]]
    middle = _number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({_number(min(values))}–{_number(max(values))})"


def _details(rows: list[Row]) -> list[str]:
    """Return the numbers beside the main one, among them how busy the load's own core was."""
    lines = ["| row | variant | beside |", "|---|---|---|"]
    for row in rows:
        for name, rounds in row.found.items():
            keys = [
                key
                for key in rounds[0]
                if key not in {row.key, "streams", *([] if row.name == "first" else ["added_ms"])}
            ]
            beside = ", ".join(f"{key} {_number(row.median_of(name, key))}" for key in keys)
            lines.append(f"| {row.title} | {name} | {beside} |")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    return next(names, platform.machine())
