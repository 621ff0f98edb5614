"""`./run.sh compat`: drives public clients, unmodified and in environments of their own, against the service.

Each program prints `version …`, then `ok NAME`, `skip NAME why` or `FAIL NAME why` for each of its steps.
"""

import argparse
import datetime as dt
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compat.server import serving
from tests.pytest_plugin import CHROMIUM

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENT = ROOT / "docs" / "COMPATIBILITY.md"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or ROOT / ".cache") / (
    "soloist-compat" if os.environ.get("XDG_CACHE_HOME") else "compat"
)
INSTALL_SECONDS, PROGRAM_SECONDS = 600, 300
_MARK = "<!-- written by ./run.sh compat --write -->"


@dataclass(slots=True)
class Outcome:
    """What came of one client."""

    name: str
    version: str = ""
    works: list[str] = field(default_factory=list)
    fails: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def read(self, output: str) -> None:
        """Take in what a program printed."""
        for line in output.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "version":
                self.version = rest
            elif kind in {"ok", "FAIL", "skip"}:
                {"ok": self.works, "FAIL": self.fails, "skip": self.skips}[kind].append(rest)


def main() -> int:
    """Run the clients whose names contain one of the arguments, all by default; 1 if a step fails."""
    parser = argparse.ArgumentParser(prog="./run.sh compat", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of clients' names; all clients by default")
    parser.add_argument("--write", action="store_true", help="write the table to docs/COMPATIBILITY.md")
    given = parser.parse_args()
    if given.write and given.names:
        parser.error("--write writes the whole table: name no clients.")
    outcomes = []
    for client in clients(given.names):
        outcomes.append(found := outcome_of(client))
        marks = f"{len(found.works)} work, {len(found.fails)} fail"
        print(f"{found.name} {found.version}: {marks}", *found.fails, *found.skips, sep="\n  ", flush=True)
    print("", table(outcomes), sep="\n")
    if given.write:
        write(outcomes)
    return int(any(each.fails for each in outcomes))


def clients(names: list[str]) -> list[dict[str, Any]]:
    """Return the clients of clients.toml whose names contain one of `names`."""
    found = tomllib.loads((HERE / "clients.toml").read_text())["client"]
    return [each for each in found if not names or any(name in each["name"] for name in names)]


def outcome_of(client: dict[str, Any]) -> Outcome:
    """Install a client and run its programs; whatever happens, the others follow."""
    outcome = Outcome(client["name"])
    missing = missing_tool(client)
    if missing:
        outcome.skips.append(f"everything: {missing} is not installed")
        return outcome
    try:
        folder = installed(client)
        with serving() as url:
            for program in client["programs"]:
                run_program(folder, program, url, outcome)
    except (OSError, subprocess.SubprocessError, RuntimeError) as exc:
        outcome.fails.append(f"everything {type(exc).__name__}: {str(exc)[-400:]}")
    return outcome


def missing_tool(client: dict[str, Any]) -> str:
    """Return the name of a tool that the client needs and this machine lacks, or nothing."""
    if "npm" in client and not shutil.which("npm"):
        return "npm"
    return "Chromium" if client.get("needs") == "chromium" and not CHROMIUM else ""


def installed(client: dict[str, Any]) -> Path:
    """Return the folder of a client's environment, made where it is not there yet."""
    packages = client.get("pip") or client["npm"]
    key = hashlib.sha256(repr(packages).encode()).hexdigest()[:8]
    folder = CACHE / f"{re.sub(r'[^a-z0-9.]+', '-', client['name'].lower())}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed"
    if not stamp.exists() or client["name"].endswith("newest"):
        install_python(folder, packages) if "pip" in client else install_node(folder, packages)
        stamp.touch()
    return folder


def install_python(folder: Path, packages: list[str]) -> None:
    """Make a virtual environment with the packages; uv comes with the development environment."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "uv"
    python = folder / "bin" / "python"
    if not python.exists():
        _command([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _command([uv, "pip", "install", "--quiet", "--upgrade", "--python", str(python), *packages])


def install_node(folder: Path, packages: list[str]) -> None:
    """Install the packages below the folder."""
    (folder / "package.json").write_text('{"private": true}')
    _command(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], cwd=folder)


def run_program(folder: Path, program: str, url: str, outcome: Outcome) -> None:
    """Run a program in a client's environment, and take in what it printed."""
    source = HERE / "programs" / program
    if program.endswith(".mjs"):
        # Node looks for packages beside the file.
        for name in (program, "report.mjs"):
            shutil.copy(HERE / "programs" / name, folder)
        command = ["node", program, url]
    else:
        own = folder / "bin" / "python"
        command = [str(own if own.exists() else sys.executable), str(source), url]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, "CHROMIUM": CHROMIUM or "", "PYTHONWARNINGS": "ignore"}
    done = _command(command, cwd=folder, seconds=PROGRAM_SECONDS, env=environment, check=False)
    outcome.read(done.stdout)
    if done.returncode:
        raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr}")


def _command(
    command: list[str],
    *,
    cwd: Path = ROOT,
    seconds: float = INSTALL_SECONDS,
    env: dict[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} … ended with {done.returncode}: {done.stderr}")
    return done


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes as a table in Markdown."""
    lines = ["| client | version | works | does not work |", "|---|---|---|---|"]
    for each in outcomes:
        works = ", ".join(_words(step) for step in each.works)
        fails = [_words(step.split(" ")[0]) for step in each.fails] + [f"not run: {s}" for s in each.skips]
        lines.append(f"| {each.name} | {each.version or '–'} | {works or '–'} | {'; '.join(fails) or '–'} |")
    return "\n".join(lines)


def _words(step: str) -> str:
    return step.replace("_", " ")


def write(outcomes: list[Outcome]) -> None:
    """Put the table into the document, with today's date, in place of the one that is there."""
    before, mark, _ = DOCUMENT.read_text().partition(_MARK)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    DOCUMENT.write_text(f"{before}{mark}\n\nRun on {today}.\n\n{table(outcomes)}\n")


if __name__ == "__main__":
    sys.exit(main())
