"""Run benchmarks and print what they found: a table, or one JSON object with --json.

Exit codes: 0 measured and within its limits, 1 a figure beyond its limit, 2 usage.
"""

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path
from typing import Any, cast

from benchmarks.figures import Benchmark


def known_benchmarks() -> dict[str, Benchmark]:
    """Every module of this folder that has `NAME` and `run`, by name."""
    found: dict[str, Benchmark] = {}
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"benchmarks.{info.name}")
        if hasattr(module, "NAME") and hasattr(module, "run"):
            found[module.NAME] = cast("Benchmark", module)
    return dict(sorted(found.items()))


def measure(names: list[str], *, smoke: bool, seconds: int | None = None) -> dict[str, Any]:
    """The report of these benchmarks as one JSON-able object. Raises KeyError for an unknown name.

    `seconds`: how long each run of a benchmark takes that runs for a time; its own usual time unless given.
    """
    known = known_benchmarks()
    results = []
    for name in names or list(known):
        benchmark: Any = known[name]
        print(f"{name} …", file=sys.stderr, flush=True)
        timed = {} if seconds is None or not hasattr(benchmark, "SECONDS") else {"seconds": seconds}
        report = benchmark.run(smoke=smoke, **timed)
        figures = [figure.judged(smoke=smoke) for figure in report.figures]
        results.append({"name": name, "rows": [dict(row) for row in report.rows], "figures": figures})
    return {"benchmarks": results}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks; all without a name")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--smoke", action="store_true", help="only prove that they run")
    parser.add_argument("--seconds", type=int, help="of each run of a benchmark that runs for a time (collector: 600)")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(known_benchmarks()))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(known_benchmarks())}")
    report = measure(given.names, smoke=given.smoke, seconds=given.seconds)
    if given.json:
        print(json.dumps(report))
    else:
        _print_table(report)
    return 1 if any(figure["ok"] is False for one in report["benchmarks"] for figure in one["figures"]) else 0


def _print_table(report: dict[str, Any]) -> None:
    for one in report["benchmarks"]:
        print(one["name"])
        for row in one["rows"]:
            print("   ", "  ".join(f"{key}={value}" for key, value in row.items()))
        for figure in one["figures"]:
            verdict = {True: "ok", False: "BEYOND ITS LIMIT", None: "no verdict"}[figure["ok"]]
            limit = "" if figure["limit"] is None else f" ({figure['op']} {figure['limit']})"
            value = figure["skipped"] or f"{figure['value']} {figure['unit']}"
            print(f"    {figure['id']}: {value}{limit}: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
