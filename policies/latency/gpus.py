"""GPUs known by name: peak rates as their makers publish them, dense (without sparsity)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU of a datasheet."""

    flops: float  # FLOP/s of 16-bit matrix products with 32-bit sums
    bandwidth: float  # bytes/s of its memory
    link: float  # bytes/s to its neighbours, one way
    source: str


GPUS = {
    "a100": Gpu(312e12, 2.039e12, 300e9, "NVIDIA A100 datasheet, SXM 80 GB"),
    "h100": Gpu(989.4e12, 3.35e12, 450e9, "NVIDIA H100 datasheet, SXM"),
    "h200": Gpu(989.4e12, 4.8e12, 450e9, "NVIDIA H200 datasheet, SXM"),
    "b200": Gpu(2250e12, 8e12, 900e9, "NVIDIA DGX B200 datasheet, an eighth of it"),
    "l40s": Gpu(362e12, 864e9, 32e9, "NVIDIA L40S datasheet, PCIe 4"),
    "rtx4090": Gpu(165.2e12, 1.008e12, 32e9, "NVIDIA Ada architecture whitepaper, PCIe 4"),
}
