"""Plot records: latency beside the rivals by batch, and each layer beside its floor.

    python benchmarks/plot.py [RECORD.json | FOLDER ...] [--batch 256] [--out DIR]

Writes <record>.png for each record, with the layers of <record>-layers.json where there is one. Needs
matplotlib (`pip install 'fx2ait-core[plot]'`), and neither a GPU nor a compiler.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from checkout import ROOT, use_checkout
from record import LAYERS, layers_beside


def main(arguments: Sequence[str] | None = None) -> int:
    """Plot what the command line names; the number of records that could not be plotted."""
    from fx2ait_core.errors import Fx2aitError  # noqa: PLC0415  # the checkout must be on the path first
    from fx2ait_core.report.record_plot import plot_record  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = [ROOT / "benchmarks" / "results"]
    parser.add_argument("records", nargs="*", type=Path, default=default, help="records or folders of them")
    parser.add_argument("--batch", type=int, default=None, help="whose layers are shown (default: largest)")
    parser.add_argument("--out", type=Path, default=None, help="folder of the plots (default: beside each)")
    given = parser.parse_args(arguments)
    failed = 0
    for path in records(given.records):
        beside = layers_beside(path)
        folder = given.out or path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            layers = json.loads(beside.read_text()) if beside.is_file() else None
            plot_record(json.loads(path.read_text()), layers, folder / f"{path.stem}.png", given.batch)
            print(folder / f"{path.stem}.png")
        except (Fx2aitError, ValueError, KeyError, OSError) as error:
            print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
            failed += 1
    return failed


def records(named: Iterable[Path]) -> list[Path]:
    """The files, and the benchmark records in the folders, sorted; other records have no times of paths."""
    found = []
    for item in named:
        inside = sorted(item.glob("*.json")) if item.is_dir() else []
        found += [path for path in inside if "rows" in json.loads(path.read_text())] if inside else [item]
    return [path for path in found if not path.stem.endswith(LAYERS)]


if __name__ == "__main__":
    use_checkout()
    sys.exit(main())
