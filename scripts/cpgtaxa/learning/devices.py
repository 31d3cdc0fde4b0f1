"""Where networks run, and in which precision."""

import pathlib

import torch

from cpgtaxa.errors import InputError


def choose_device(wanted: str) -> str:
    """'cpu' or 'gpu' for `wanted` = auto, cpu or gpu. Raises InputError if a GPU is asked for and there is none."""
    there = torch.cuda.is_available()
    if wanted == "gpu" and not there:
        raise InputError(
            "training.device is gpu, but torch sees no GPU on this machine: check the driver and that the environment "
            "holds a CUDA build of torch, or set training.device to auto or cpu"
        )
    return "gpu" if there and wanted != "cpu" else "cpu"


def has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is fast here: on GPUs that support it, and on CPUs with its instructions."""
    if device == "gpu":
        return torch.cuda.is_bf16_supported()
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def use_bfloat16(precision: str, device: str) -> bool:
    """Resolve `training.precision` (auto, float32 or bfloat16)."""
    return precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))
