"""Where networks run, in which precision, and a trained network in use there."""

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


def placed(wanted: str, precision: str) -> tuple[str, bool]:
    """torch's name of the device, cpu or cuda, and whether networks run there in bfloat16; arguments as above."""
    device = choose_device(wanted)
    return "cuda" if device == "gpu" else "cpu", use_bfloat16(precision, device)


class Applied:
    """A trained network in use, on the device and in the precision that are wanted."""

    def __init__(self, network: torch.nn.Module, device: str = "auto", precision: str = "auto"):
        self.device, self.bfloat16 = placed(device, precision)
        self.network = network.to(self.device).eval()

    def __call__(self, *inputs) -> torch.Tensor:
        """What the network says of one batch, float32, on its device; inputs: tensors or arrays, wherever they are."""
        inputs = [torch.as_tensor(one).to(self.device) for one in inputs]
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
            return self.network(*inputs).float()
