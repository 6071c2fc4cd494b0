"""How many texts a second an encoder student carries at p99 ≤ 20 ms: GPU and CPU, one report.

Needs torch and transformers and nothing else; runs unchanged on a machine that can reach nothing.

    python encoder_throughput.py --usd-per-hour cuda=2.49 --usd-per-hour cpu=0.089 --out out.json

Arrivals are Poisson and fixed in advance; latency counts from the scheduled instant. The model
takes whatever waits, up to a batch, as the router's batcher does. HTTP and tokenizing are not in
it: this is the device's own ceiling. Without --model the weights are random in MiniLM's shape
(22.7 M parameters): speed does not depend on what they say, and no quality is claimed.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

LENGTHS = (32, 128, 512)
BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
WARM_UP = 3
"""The first two calls of a shape are slow; a third is for luck."""
TOLERANCE = 0.05


@dataclass(frozen=True)
class Row:
    """One device and length at its highest rate that kept the limit; rate 0: none did."""

    device: str
    length: int
    texts_per_s: float
    tokens_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    samples: int
    mean_batch: float
    roofline_share: float
    """FLOP/s of the useful tokens over those of a large matrix product on the same device."""
    utilisation: float | None
    usd_per_million: float | None


class Encoder:
    """A classifier at fixed batch sizes and one length; on a GPU each size is one CUDA graph."""

    def __init__(self, model: Any, device: str, length: int) -> None:
        self._device, self._length = device, length
        self._model = model
        self._graphs: dict[int, tuple[Any, torch.Tensor, torch.Tensor]] = {}
        for size in BUCKETS:
            ids = torch.randint(1000, 20_000, (size, length), device=device)
            for _ in range(WARM_UP):
                self._forward(ids)
            if device == "cuda":
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    out = self._forward(ids)
                self._graphs[size] = (graph, ids, out)
            if self._too_slow(ids):
                break
        self.sizes = BUCKETS[: BUCKETS.index(size) + 1]

    def run(self, n: int) -> None:
        """Classify `n` texts, padded to the next batch size, and wait for the answers."""
        size = next(s for s in self.sizes if s >= n)
        ids = torch.randint(1000, 20_000, (size, self._length))
        if self._graphs:
            graph, held, out = self._graphs[size]
            held.copy_(ids, non_blocking=True)
            graph.replay()
            out.cpu()
        else:
            self._forward(ids)

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = self._model(input_ids=ids).logits
            return logits.float().softmax(-1)

    def _too_slow(self, ids: torch.Tensor) -> bool:
        """Whether one batch of this size already takes the whole 20 ms: larger ones are no use."""
        began = time.perf_counter()
        self._forward(ids)
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began > 0.02


def main() -> None:
    """Measure every device there is and write one report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="folder of a Hugging Face classifier")
    parser.add_argument("--devices", default="cuda,cpu")
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--p99-ms", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate that is tried")
    parser.add_argument("--usd-per-hour", action="append", default=[], metavar="DEVICE=USD")
    parser.add_argument("--out", type=Path, default=Path("encoder.json"))
    args = parser.parse_args()
    prices = {d: float(usd) for d, _, usd in (p.partition("=") for p in args.usd_per_hour)}
    rows, skipped = [], {}
    for device in args.devices.split(","):
        if device == "cuda" and not torch.cuda.is_available():
            skipped[device] = "this machine has no CUDA device"
            continue
        model = load(args.model, device)
        peak = matrix_flops(device)
        for length in map(int, args.lengths.split(",")):
            row = measure(model, device, length, peak, args.p99_ms, args.seconds, prices)
            rows.append(row)
            print(words(row, args.p99_ms), flush=True)
    for device, why in skipped.items():
        print(f"{device:5} skipped: {why}")
    report = {
        "rows": [asdict(row) for row in rows],
        "skipped": skipped,
        "p99_limit_ms": args.p99_ms,
        "model": str(args.model or "random weights, MiniLM-L6 shape"),
        "versions": versions(),
    }
    args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"written to {args.out}")


def words(row: Row, limit_ms: float) -> str:
    """Return one line about a row."""
    if row.p99_ms is None:
        return f"{row.device:5} {row.length:4} tokens: no rate kept a p99 of {limit_ms:g} ms"
    return (
        f"{row.device:5} {row.length:4} tokens: {row.texts_per_s:10,.0f} texts/s "
        f"{row.tokens_per_s:12,.0f} tokens/s  p99 {row.p99_ms:6.2f} ms  "
        f"roofline {row.roofline_share:.0%}"
    )


def load(folder: Path | None, device: str) -> Any:
    """Return a classifier in bf16 on a GPU, in fp32 on a CPU."""
    if folder is not None:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    else:
        shape = transformers.BertConfig(
            hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        model = transformers.BertForSequenceClassification(shape)
    return model.eval().to(device, torch.bfloat16 if device == "cuda" else torch.float32)


def measure(
    model: Any,
    device: str,
    length: int,
    peak: float,
    limit_ms: float,
    seconds: float,
    prices: dict[str, float],
) -> Row:
    """Double the rate until p99 breaks the limit, bisect to 5 %, report the last that held."""
    encoder = Encoder(model, device, length)
    low, high, best = 0.0, 20.0, None

    def holds(rate: float) -> bool:
        nonlocal best
        tried = open_loop(encoder, rate, seconds)
        good = bool(np.quantile(tried[0], 0.99, method="higher") * 1000 <= limit_ms)
        if good:
            best = (rate, *tried)
        return good

    while holds(high):
        low, high = high, 2 * high
    while low and high > low * (1 + TOLERANCE):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    if best is None:
        return Row(device, length, 0.0, 0.0, None, None, 0, 0.0, 0.0, None, None)
    rate, latency, batches, utilisation = best
    tokens = rate * length
    usd = prices.get(device)
    return Row(
        device=device,
        length=length,
        texts_per_s=rate,
        tokens_per_s=tokens,
        p50_ms=float(np.quantile(latency, 0.5) * 1000),
        p99_ms=float(np.quantile(latency, 0.99) * 1000),
        samples=len(latency),
        mean_batch=float(np.mean(batches)),
        roofline_share=tokens * flops_per_token(model, length) / peak,
        utilisation=utilisation,
        usd_per_million=usd / 3600 / rate * 1e6 if usd is not None and rate else None,
    )


def open_loop(
    encoder: Encoder, rate: float, seconds: float, seed: int = 0
) -> tuple[np.ndarray, list[int], float | None]:
    """Serve Poisson arrivals for so long; return latencies from the schedule, batches, GPU share.

    A server that falls a second behind has failed, and the run ends there.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, max(50, int(rate * seconds)))
    due = np.cumsum(gaps)
    finished = np.empty_like(due)
    batches: list[int] = []
    shares: list[float] = []
    stop = threading.Event()
    watcher = threading.Thread(target=_watch_gpu, args=(stop, shares), daemon=True)
    watcher.start()
    began, done = time.perf_counter(), 0
    while done < len(due):
        now = time.perf_counter() - began
        waiting = int(np.searchsorted(due, now, side="right")) - done
        if waiting == 0:
            continue
        batch = min(waiting, encoder.sizes[-1])
        encoder.run(batch)
        ended = time.perf_counter() - began
        finished[done : done + batch] = ended
        done += batch
        batches.append(batch)
        if ended - due[done - 1] > 1.0:
            finished[done:] = np.inf
            break
    stop.set()
    watcher.join(timeout=3)
    return finished - due, batches, float(np.mean(shares)) if shares else None


def flops_per_token(model: Any, length: int) -> float:
    """2 · parameters of the layers, plus 4 · length · width of each layer's attention."""
    layers = sum(p.numel() for name, p in model.named_parameters() if ".layer" in name)
    config = model.config
    return 2.0 * layers + 4.0 * length * config.hidden_size * config.num_hidden_layers


def matrix_flops(device: str) -> float:
    """Measure the FLOP/s of a large matrix product in the precision that the model runs in."""
    n, dtype = (8192, torch.bfloat16) if device == "cuda" else (2048, torch.float32)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * n**3 / best


def versions() -> dict[str, str]:
    """Return card, driver, processor and library versions."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": str(torch.get_num_threads()),
        "processor": platform.processor() or platform.machine(),
    }
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        found["processor"] = f"{len(names)} × {names[0].partition(':')[2].strip()}"
    if torch.cuda.is_available():
        found["card"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
        found["driver"] = _nvidia_smi("driver_version")
    return found


def _watch_gpu(stop: threading.Event, shares: list[float]) -> None:
    while shutil.which("nvidia-smi") and not stop.wait(0.5):
        try:
            shares.append(float(_nvidia_smi("utilization.gpu")) / 100)
        except ValueError:
            return


def _nvidia_smi(field: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits", "-i", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
