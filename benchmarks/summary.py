"""A record as Markdown, for people.

    python benchmarks/summary.py RECORD.json ...

Writes <record>.md beside each, with the totals of <record>-layers.json where there is one. `h100.py` and
`cpu.py` write it themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from checkout import use_checkout
from pydantic import TypeAdapter
from record import layers_beside

DIFFERENCES = ("repeated", "on_filled_memory", "two_at_once")


def write_summary(path: Path, record: Mapping[str, Any], layers: Mapping[str, Any]) -> str:
    """Write what the record at ``path`` and that of its layers hold; the text."""
    text = summary(record, layers)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def summary(record: Mapping[str, Any], layers: Mapping[str, Any]) -> str:
    """All that the two hold, a paragraph for each section."""
    parts = [f"{_name(record, layers)}: compiled in {record.get('compile_seconds', 0):.1f} s\n"]
    parts += ["\n".join(_failures(each)) for each in (record, layers)]
    for section in (_rows, _modes, _verification, _host, _memory, _trust, _processes):
        parts.append("\n".join(section(record)))
    parts += ["\n".join(_totals(layers)), "\n".join(record.get("notes", ()))]
    return "\n".join(f"{part.rstrip()}\n" for part in parts if part)


def _name(record: Mapping[str, Any], layers: Mapping[str, Any]) -> str:
    return str(record.get("model") or layers.get("model") or "the model")


def _failures(record: Mapping[str, Any]) -> Iterator[str]:
    for title, reason in record.get("failures", {}).items():
        yield f"**{title} failed**: {reason}"


def _rows(record: Mapping[str, Any]) -> Iterator[str]:
    from fx2ait_core.bench.benchmark import ENGINE, BenchmarkReport  # noqa: PLC0415
    from fx2ait_core.report.columns import benchmark_cells  # noqa: PLC0415
    from fx2ait_core.report.markdown import markdown  # noqa: PLC0415

    if not record.get("rows"):
        return
    rivals = [row["path"] for row in record["rows"] if row["path"] != ENGINE]
    told = {
        **record, "name": record["model"], "baseline": (rivals or [ENGINE])[0], "environment": record,
    }  # fmt: skip
    yield markdown(benchmark_cells(TypeAdapter(BenchmarkReport).validate_python(told)))


def _modes(record: Mapping[str, Any]) -> Iterator[str]:
    for row in record.get("rows", ()):
        if row.get("slower"):
            times = {row["detail"]: row["ms_median"], **row["slower"]}
            told = ", ".join(f"{name} {ms:.3f} ms" for name, ms in times.items())
            yield f"{row['path']} at batch {row['batch']}: {told}"


def _verification(record: Mapping[str, Any]) -> Iterator[str]:
    from fx2ait_core.bench.verify import VerificationReport  # noqa: PLC0415
    from fx2ait_core.report.columns import verification_cells  # noqa: PLC0415
    from fx2ait_core.report.markdown import markdown  # noqa: PLC0415

    if "verification" in record:
        report = TypeAdapter(VerificationReport).validate_python(record["verification"])
        yield markdown(verification_cells(report))


def _host(record: Mapping[str, Any]) -> Iterator[str]:
    for row in record.get("host_time", ()):
        beyond = "the C call" if row["graph_us"] is None else "the launch of the graph"
        yield (
            f"host time at batch {row['batch']}: {row['call_us']:.1f} us a call, "
            f"{row['beyond_us']:.1f} us beyond {beyond}"
        )


def _memory(record: Mapping[str, Any]) -> Iterator[str]:
    for row in record.get("activation_bytes", ()):
        told = (f"{name} {count / 1e6:.1f} MB" for name, count in row.items() if name != "batch")
        yield f"activations and workspace at batch {row['batch']}: {', '.join(told)}"


def _trust(record: Mapping[str, Any]) -> Iterator[str]:
    for row in record.get("differing_runs", ()):
        if not all(name in row for name in DIFFERENCES):
            continue  # it failed before the end
        wrong = {name: row[name] for name in DIFFERENCES if row[name]}
        verdict = f"runs that differ from the first: {wrong}" if wrong else "all equal, bit by bit"
        yield (
            f"batch {row['batch']}: {row['repetitions']} repetitions, runs on memory full of NaN, and two "
            f"engines at once: {verdict}"
        )


def _processes(record: Mapping[str, Any]) -> Iterator[str]:
    if told := record.get("differing_after_another_process"):
        verdict = f"{told['differing']} answers differ" if told["differing"] else "all equal"
        yield f"{told['processes']} processes, one after another, each leaving memory full of NaN: {verdict}"


def _totals(layers: Mapping[str, Any]) -> Iterator[str]:
    from fx2ait_core.bench.roofline import Peaks  # noqa: PLC0415
    from fx2ait_core.report.columns import Cells  # noqa: PLC0415
    from fx2ait_core.report.layers import peaks_text  # noqa: PLC0415
    from fx2ait_core.report.markdown import markdown  # noqa: PLC0415

    if not layers.get("batches"):
        return
    peaks = TypeAdapter(Peaks).validate_python(layers["peaks"])
    caption = f"launch by launch, against {peaks_text(peaks)}"
    rows = tuple(
        (
            str(at["batch"]),
            *(f"{at[key]:.1f}" for key in ("floor_us", "sum_us", "whole_us")),
            f"{at['share']:.0%}",
        )
        for at in layers["batches"]
    )
    yield markdown(Cells(("batch", "floor, us", "sum of launches, us", "whole, us", "share"), rows, caption))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="+", type=Path)
    for path in parser.parse_args().records:
        beside = layers_beside(path)
        layers = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        print(write_summary(path, json.loads(path.read_text(encoding="utf-8")), layers))
    return 0


if __name__ == "__main__":
    use_checkout()
    sys.exit(main())
