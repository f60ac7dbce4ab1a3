"""Where and with what a run is made: commit, versions, machine."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jax

_ARITHMETIC = {  # flag of /proc/cpuinfo -> its common name, the widest first
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
_PACKAGES = ("rnnae", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")


def describe(devices: Sequence[jax.Device]) -> dict:
    """JSON: of this process, at this time, on these devices."""
    kinds = sorted({device.device_kind for device in devices})
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "devices": f"{len(devices)} x {', '.join(kinds)}",
        "machine": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def commit() -> str:
    """Of the checkout that holds this package, `-dirty` where files of it differ; "" if none."""
    own = Path(__file__)
    if not _git("ls-files", "--error-unmatch", own.name, cwd=own.parent):  # installed elsewhere
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*", cwd=own.parent)


def _git(*arguments: str, cwd: Path) -> str:
    """What git says; "" if it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=cwd, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def processor() -> str:
    """The CPU's model and its widest arithmetic, which the name may not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # The first of each: all cores are taken to be alike.
    found = dict(
        reversed([re.split(r"\s*:\s*", line, maxsplit=1) for line in lines if ":" in line])
    )
    flags = found.get("flags", "").split()
    widest = next((name for flag, name in _ARITHMETIC.items() if flag in flags), "")
    return ", ".join(filter(None, [found.get("model name", platform.machine()), widest]))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
