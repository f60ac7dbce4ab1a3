"""Where and with which versions a run is executed: date, commit, packages, machine."""

import datetime
import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import jax

from rnnae.devices import runtime

_ARITHMETIC = {  # flag in /proc/cpuinfo -> common name of the instruction set, the widest first
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 BF16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
_PACKAGES = ("rnnae", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")


def describe(devices: Sequence[jax.Device]) -> dict:
    """Date, commit, devices, machine and versions of this process, as JSON."""
    kinds = sorted({device.device_kind for device in devices})
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "devices": f"{len(devices)} x {', '.join(kinds)}",
        "machine": processor(),
        "cores": len(runtime.available_cores()),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def commit(file: str = "") -> str:
    """The commit of the checkout that holds this package (or the package of `file`), with `-dirty`
    if files were changed; "" if the package is installed elsewhere."""
    own = Path(file or __file__)
    if not _git("ls-files", "--error-unmatch", own.name, cwd=own.parent):  # installed elsewhere
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*", cwd=own.parent)


def _git(*arguments: str, cwd: Path) -> str:
    """The output of git; "" if it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=10,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def processor() -> str:
    """The CPU's model and its widest vector instructions, which the model's name may not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # Reversed, so that the first core's entry wins: all cores are assumed to be alike.
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
