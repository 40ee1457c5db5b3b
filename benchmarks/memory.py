"""The memory of a study: of the driver, of each trial, of all together, and whether trials share data or copy them.

Usage: python benchmarks/memory.py [STUDY FIELD=VALUE ...]

Runs ``python -m bdray.study`` in a scratch folder and looks at its processes once a second. RSS counts all pages that a
process sees; PSS counts a page that several share by its share, so that sums of PSS are what the machine gives up; USS
is what a process has to itself. "Pixels" are the prepared images, which are memory-mapped, at the moment at which the
trials saw most of them: shared by two, their PSS is half of their RSS; copied, there would be no such pages. GPU memory
at a paper's scale is in ``gpu_training.json``.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import psutil
import record
from processes import family, memory, watched

STUDY = ("ablations/lambda2", "seeds=[0]", "axes={defense.in_modal_weight: {label: λ₂, values: [0, 1]}}")
SHORT = ("pretrain.recipe.epochs=1", "victim.recipe.epochs=1")
"""Two trials, long enough that both train at the same time; memory is what it is after the first epoch."""
PIXELS = "/images.npy"
MEGABYTE = 1e6


@dataclass
class Peaks:
    """The most that was seen, in bytes."""

    all_pss: int = 0
    rss: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By kind of process."""
    pss: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    uss: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    pixels: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """``rss`` and ``pss`` of the mapped images, over both trials, when that was most."""

    def look(self, pid: int) -> None:
        """Take a sample."""
        total, pixels, trials = 0, defaultdict[str, int](int), 0
        for process in family(pid):
            found, kind = memory(process), kind_of(process, pid)
            if found is None:
                continue
            total += found.pss
            self.rss[kind] = max(self.rss[kind], found.rss)
            self.pss[kind] = max(self.pss[kind], found.pss)
            self.uss[kind] = max(self.uss[kind], found.uss)
            if kind == "trial":
                seen = mapped_pixels(process)
                trials += seen.get("rss", 0) > 0
                for name, size in seen.items():
                    pixels[name] += size
        self.all_pss = max(self.all_pss, total)
        if trials > 1 and pixels["rss"] > self.pixels["rss"]:
            self.pixels = pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="*", default=[*STUDY, *SHORT], help="and fields of it")
    options = parser.parse_args()
    peaks = Peaks()
    with tempfile.TemporaryDirectory(prefix="bdray-bench-") as folder:
        command = [sys.executable, "-m", "bdray.study", *options.study, "--output", folder]
        watched(command, peaks.look, interval=1.0)
    found = told(peaks)
    for name, value in found.items():
        print(f"{name:>24}  {value}")
    shared = record.Claim(
        "pixels of two trials, PSS over RSS (shared: 0.5)", found["pixels_pss_over_rss"], "", at_most=0.6
    )
    record.write("memory", {"study": " ".join(options.study), **found}, [shared])


def told(peaks: Peaks) -> dict[str, Any]:
    """The peaks in MB."""

    def megabytes(sizes: dict[str, int]) -> dict[str, float]:
        return {name: round(size / MEGABYTE, 1) for name, size in sorted(sizes.items())}

    assert peaks.pixels["rss"], "two trials were seen with their pixels"
    return {
        "all_pss_mb": round(peaks.all_pss / MEGABYTE, 1),
        "peak_rss_mb": megabytes(peaks.rss),
        "peak_pss_mb": megabytes(peaks.pss),
        "peak_uss_mb": megabytes(peaks.uss),
        "pixels_mb": megabytes(peaks.pixels),
        "pixels_pss_over_rss": round(peaks.pixels["pss"] / peaks.pixels["rss"], 3),
    }


def kind_of(process: psutil.Process, driver: int) -> str:
    """``driver``, ``trial``, or what belongs to Ray."""
    if process.pid == driver:
        return "driver"
    try:
        title = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return "other"
    if "ImplicitFunc" in title or "run_trial" in title:
        return "trial"
    return "idle worker" if title.startswith("ray::IDLE") else "ray"


def mapped_pixels(process: psutil.Process) -> dict[str, int]:
    """Bytes of the mapped images that a process sees."""
    try:
        maps = [found for found in process.memory_maps(grouped=False) if found.path.endswith(PIXELS)]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}
    return {
        "rss": sum(found.rss for found in maps),
        "pss": sum(found.pss for found in maps),
    }


if __name__ == "__main__":
    main()
