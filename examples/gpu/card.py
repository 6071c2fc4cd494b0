"""What the machine is and what it could do at most: card, driver, versions, matrix speed, price."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PRICED = {
    "H200": "vast:h200",
    "H100": "runpod:h100-sxm@community",
    "A100": "runpod:a100-80",
    "L40S": "aws:l40s",
    "L4": "gcp:g2-standard-4",
}
"""By what a card's name contains: the row of the price list that is taken where none is given."""
PACKAGES = ("raisehand", "torch", "transformers", "tokenizers", "locust", "gevent", "uvloop")


def matrix_flops(device: str) -> float:
    """Measure the FLOP/s of a large matrix product in the precision that the model runs in."""
    import torch

    n, dtype = (8192, torch.bfloat16) if device.startswith("cuda") else (1024, torch.float32)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * n**3 / best


def utilisation() -> list[float]:
    """Return the share of the last moment that a kernel ran on the first card; empty without."""
    found = nvidia_smi("utilization.gpu")
    return [float(found) / 100] if found else []


def nvidia_smi(fields: str) -> str:
    """Return what nvidia-smi says of the first card; "" where it says nothing."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "-i", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> dict[str, str]:
    """Return card, driver, processor and versions."""
    found = {"at": datetime.now(UTC).isoformat(timespec="seconds")}
    if said := nvidia_smi("name,driver_version,memory.total,clocks.max.sm"):
        card, driver, memory, clock = (part.strip() for part in said.split(","))
        found |= {
            "card": card,
            "driver": driver,
            "memory": f"{memory} MiB",
            "clock": f"{clock} MHz",
        }
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found["processor"] = f"{len(names)} × {names[0]}" if names else platform.processor()
    found["python"] = platform.python_version()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    import torch

    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def price_per_hour(card: str) -> tuple[float, str] | None:
    """Return dollars an hour of such a card, and whose price that is; None where nobody says."""
    from costmodel.money.machines import find_machine

    for name, reference in PRICED.items():
        if name in card.split():
            row = find_machine(reference, datetime.now(UTC).date())
            return float(row.usd_per_hour), row.words
    return None
