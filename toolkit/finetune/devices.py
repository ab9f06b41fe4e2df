"""The device this process trains on: what it is, what is free on it, how fast it multiplies.

torch is imported inside the functions.
"""

import os
import platform
import time
from pathlib import Path

from toolkit.finetune.memory import Device

MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def here(processes: int = 1) -> Device:
    """This process's device. On a CPU the processes of a training share one memory."""
    import torch

    if torch.cuda.is_available():
        half = torch.cuda.is_bf16_supported()
        free, _ = torch.cuda.mem_get_info()
        return Device("cuda", torch.cuda.get_device_name(), free, speed(), half)
    return Device("cpu", f"this machine ({platform.machine()} CPU)", free_memory() // processes, speed())


def free_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int:
    """Bytes of main memory that can be had, within the container's limit where there is one."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        machine = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux: all there is
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or no limit
        return machine
    return max(0, min(machine, limit))


def gpus(driver: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; torch is not needed to know."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu and gpu != "-1"]
    return [str(i) for i, _ in enumerate(sorted(driver.glob("*")))]


def speed(size: int = 0) -> float:
    """FLOPs per second of one large product of matrices, measured in some milliseconds."""
    import torch

    cuda = torch.cuda.is_available()
    n = size or (8192 if cuda else 512)
    device, dtype = (
        ("cuda", torch.bfloat16) if cuda and torch.cuda.is_bf16_supported() else ("cpu", torch.float32)
    )
    a = torch.ones(n, n, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(3):  # the first warms up
        began = time.perf_counter()
        _ = a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * n**3 / best


def attention(kind: str, asked: str = "auto") -> str:
    """The attention to load a model of this type with.

    Gemma 2 caps its attention scores, which torch's fused kernel leaves out (transformers refuses it):
    flash attention honours the cap, and so does eager, at the cost of the scores' memory.
    """
    if asked != "auto":
        return asked
    if flash():
        return "flash_attention_2"
    return "eager" if kind == "gemma2" else "sdpa"


def flash() -> bool:
    """Whether flash attention can be used here."""
    import importlib.util

    import torch

    return torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None
