"""Every CUDA kernel under compute-sanitizer.

    python benchmarks/sanitize.py [--tools memcheck,racecheck,initcheck,synccheck] [--out DIR]
    python benchmarks/sanitize.py --list [--arch sm_90a]    # which kernels the models use; needs no GPU

Compiles small models which together use every kernel that the installed plugins bring for CUDA (one that
is not used is a failure), and every variant that they offer for ResNet-18 at any batch size; checks their
answers against PyTorch, and runs them under each tool; each tool must also notice the fault that
planted_faults.cu has for it. Writes DIR/<card>-sanitizer.json: per tool the sanitizer's summary line and the
answers compared; per kernel family how many were watched, and the variants; the whole logs lie in
DIR/<card>-sanitizer-<tool>.log.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from checkout import ROOT, use_checkout
from measure import slug
from record import Record
from torch import nn
from variants import Variants

SCRIPT = Path(__file__).resolve()
BATCHES = (1, 3)
LIMITS = {"fp16": 1e-2, "bf16": 5e-2, "fp32": 1e-4}


class Convolutions(nn.Module):
    """A stem, blocks with residuals, strides, groups, few and odd channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.block = nn.Conv2d(64, 64, 3, padding=1)
        self.down = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(64, 128, 1, stride=2)
        self.deep = nn.Conv2d(128, 512, 3, padding=1)
        self.narrow = nn.Conv2d(512, 20, 1)
        self.grouped = nn.Conv2d(20, 64, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.odd = nn.Conv2d(64, 13, 3, dilation=2, padding=2)
        self.few = nn.Conv2d(13, 6, 5, padding=2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = nn.functional.silu(self.depthwise(self.stem(image)))
        x = self.pool(x)
        x = torch.relu(self.block(x) + x)
        x = torch.relu(self.down(x) + self.shortcut(x))
        x = torch.relu(self.narrow(torch.relu(self.deep(x))))
        return self.few(torch.relu(self.odd(torch.relu(self.grouped(x)))))


class Stem(nn.Module):
    """Few channels, pooled in the same launch where a kernel can."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.odd = nn.Sequential(nn.Conv2d(3, 24, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.stem(image), self.odd(image)


class Pools(nn.Module):
    """Every pooling operator, joined."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = image * 2 + 1
        pooled = nn.functional.max_pool2d(x, 3, 2, 1)
        averaged = nn.functional.avg_pool2d(x, 3, 2, 1)
        joined = torch.cat([torch.relu(pooled), torch.sigmoid(averaged)], dim=1)
        return (
            nn.functional.adaptive_avg_pool2d(joined, 3),
            nn.functional.adaptive_max_pool2d(joined, 2),
            joined.mean(dim=1),
        )


class Linears(nn.Module):
    """Linear layers, wide and narrow."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(256, 1000)
        self.narrow = nn.Linear(1000, 7)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(self.narrow(torch.tanh(self.wide(rows))))


class SquareProduct(nn.Module):
    """A product of two matrices, neither of them a constant."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.mm(torch.tanh(rows).transpose(0, 1).contiguous(), rows))


@dataclass(frozen=True)
class Subject:
    """A model to watch; ``shape`` without the batch, which is fixed where there is only one."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    precision: str
    batches: tuple[int, ...] = BATCHES


SUBJECTS = {
    f"{model.__name__.lower()}_{precision}": Subject(model, shape, precision, batches)
    for model, shape, batches in (
        (Convolutions, (3, 45, 61), BATCHES),
        (Stem, (3, 67, 93), BATCHES),
        (Pools, (24, 17, 15), BATCHES),
        (Linears, (256,), (1, 200)),
        (SquareProduct, (72,), (40,)),
    )
    for precision in ("fp16", "bf16", "fp32")
}


def compiled(name: str, arch: str | None):
    """The subject's engine (or, for an architecture that is not here, its source tree) and its module."""
    import fx2ait_core as fx2ait  # noqa: PLC0415  # the checkout must be on the path first

    subject = SUBJECTS[name]
    torch.manual_seed(sum(name.encode()))
    module = subject.make().eval()
    examples = torch.randn(subject.batches[-1], *subject.shape)
    options = {
        "target": "cuda",
        "arch": arch,
        "precision": subject.precision,
        "dynamic_batch": (1, subject.batches[-1]) if len(subject.batches) > 1 else None,
        "tune_batches": subject.batches,
        "name": name,
    }
    if arch is not None:
        return fx2ait.emit_only(module, examples, **options), module
    return fx2ait.compile(module, examples, tune=False, **options), module


def resnet_variants(arch: str | None) -> Variants:
    """Of ResNet-18, on small images."""
    import torchvision  # noqa: PLC0415  # seconds, and only some need it

    from fx2ait_core.bench.calibrate import calibrated  # noqa: PLC0415

    torch.manual_seed(18)
    shape = (3, 64, 64)
    model = calibrated(torchvision.models.resnet18(weights=None), [(torch.randn(16, *shape),)])
    return Variants(model, shape, "fp16", arch)


def kernels_of(manifest: dict) -> Counter[str]:
    """Emitted kernels by family."""
    return Counter(kernel["kernel"] for kernel in manifest["plan"]["kernels"])


def unused(used: Counter[str]) -> list[str]:
    """CUDA kernels of the installed plugins that no subject uses."""
    import fx2ait_core as fx2ait  # noqa: PLC0415

    brought = {c.value.name for c in fx2ait.plugins().registry.all_kernels if c.value.target == "cuda"}
    return sorted(brought - set(used))


def replay(folder: Path) -> int:
    """Load every engine of ``folder`` and compare with the recorded answers; run under the sanitizer."""
    import fx2ait_core as fx2ait  # noqa: PLC0415
    from fx2ait_core.bench.verify import SHORT_NAMES, engine_precision  # noqa: PLC0415

    faults = 0
    for path in sorted(folder.glob("*.fx2ait")):
        engine = fx2ait.load(path)
        limit = LIMITS[SHORT_NAMES[engine_precision(engine.manifest)]]
        for record in sorted(folder.glob(f"{path.stem}.*.pt")):
            case = torch.load(record, weights_only=True)
            found = engine(case["input"].cuda())
            found = found if isinstance(found, tuple) else (found,)
            for mine, reference in zip(found, case["outputs"], strict=True):
                error = float((mine.cpu().double() - reference).norm() / reference.norm())
                good = error <= limit
                faults += not good
                print(f"{'ok' if good else 'WRONG'} {record.stem} relative L2 {error:.1e}", flush=True)
    torch.cuda.synchronize()
    return int(faults > 0)


def prepare(folder: Path) -> tuple[Counter[str], list[str]]:
    """Compile all subjects into ``folder``, with inputs and float64 answers beside; kernels by use, and the
    variants."""
    used: Counter[str] = Counter()
    for name, subject in SUBJECTS.items():
        engine, module = compiled(name, None)
        engine.save(folder / f"{name}.fx2ait")
        used += kernels_of(engine.manifest)
        record_answers(folder, name, module, subject.shape, subject.batches)
    variants = resnet_variants(None)
    for number, engine in enumerate(variants.engines()):
        name = f"variants_{number}"
        engine.save(folder / f"{name}.fx2ait")
        used += kernels_of(engine.manifest)
        record_answers(folder, name, variants.model, variants.shape, variants.batches)
    return used, sorted(variants.used)


def record_answers(
    folder: Path, name: str, module: nn.Module, shape: tuple[int, ...], batches: tuple[int, ...]
) -> None:
    """A random input at each batch size, with the module's answers in float64."""
    for batch in batches:
        x = torch.randn(batch, *shape)
        with torch.no_grad():
            outputs = module.double()(x.double())
        module.float()
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.save({"input": x, "outputs": list(outputs)}, folder / f"{name}.{batch}.pt")


def notices(tool: str, folder: Path) -> bool:
    """A negative control: whether the tool reports the fault that is planted for it."""
    program = folder / "planted_faults"
    if not program.exists():
        source = SCRIPT.with_name("planted_faults.cu")
        subprocess.run(["nvcc", "-arch=native", "-o", str(program), str(source)], check=True)
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", str(program), tool]
    return subprocess.run(command, capture_output=True, check=False).returncode == 9


def watch(tool: str, folder: Path, out: Path) -> dict:
    """Run the subjects under one tool of compute-sanitizer; its record."""
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    command += [sys.executable, str(SCRIPT), "--replay", str(folder)]
    # Every tensor is an allocation of its own, so that its bounds are known.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    (out / f"{slug(torch.cuda.get_device_name())}-sanitizer-{tool}.log").write_text(done.stdout + done.stderr)
    summary = re.findall(r"=+ ((?:ERROR|RACECHECK) SUMMARY: .*)", done.stdout)
    return {
        "tool": tool,
        "exit_code": done.returncode,
        "notices_a_planted_fault": notices(tool, folder),
        "summary": summary[-1] if summary else "no summary",
        "answers": Counter(line.split()[0] for line in done.stdout.splitlines() if " relative L2 " in line),
        "seconds": round(time.perf_counter() - started, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tools", default="memcheck,racecheck,initcheck,synccheck")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--list", action="store_true", help="print the kernels each model uses")
    parser.add_argument("--arch", default="sm_90a", help="for --list")
    parser.add_argument("--replay", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    use_checkout()
    if given.replay:
        return replay(given.replay)
    if given.list:
        used: Counter[str] = Counter()
        for name in SUBJECTS:
            tree, _ = compiled(name, given.arch)
            mine = kernels_of(json.loads(tree.text("manifest.json")))
            used += mine
            print(f"{name}: {', '.join(sorted(mine))}")
        variants = resnet_variants(given.arch)
        trees = list(variants.trees())
        print(f"{len(variants.used)} variants in {len(trees)} engines:", *sorted(variants.used), sep="\n  ")
        print(f"unused: {', '.join(unused(used)) or 'none'}")
        return int(bool(unused(used)))

    given.out.mkdir(parents=True, exist_ok=True)
    folder = given.out / "sanitized-engines"
    folder.mkdir(exist_ok=True)
    used, variants = prepare(folder)
    card = torch.cuda.get_device_name()
    record = Record(given.out / f"{slug(card)}-sanitizer.json")
    watched: list[dict] = []
    record.data = {
        "card": card,
        "command": shlex.join(["python", *sys.argv]),
        "kernels": dict(sorted(used.items())),
        "unused": unused(used),
        "variants": variants,
        "tools": watched,
    }
    for tool in given.tools.split(","):
        watched.append(watch(tool, folder, given.out))
        print(watched[-1], flush=True)
        record.write()
    failed = [entry["tool"] for entry in watched if entry["exit_code"] != 0]
    blind = [entry["tool"] for entry in watched if not entry["notices_a_planted_fault"]]
    missed = record.data["unused"]
    print(f"unused kernels: {missed or 'none'}; tools that report something: {failed or 'none'}")
    print(f"tools that miss a planted fault: {blind or 'none'}")
    return int(bool(failed or blind or missed))


if __name__ == "__main__":
    sys.exit(main())
