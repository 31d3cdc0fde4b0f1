"""Many images on a CPU: a network in whole numbers (int8) by OpenVINO, and in float32 what is close.

Weights are rounded to 255 steps per output channel, what each convolution sees to 256 (post-training quantisation:
Jacob et al. 2018); the first convolution and the last layer stay in float32. Ranges come from simulated images of the
cohort's own ages. These images also tell how far rounding moves the lead of an image's first taxon over its second:
images with a smaller lead than rounding moves are shown to the network in float32.
"""

import importlib.util
import logging
import pathlib

import numpy as np
import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval as fuse

from cpgtaxa.errors import InputError
from cpgtaxa.images.render import planes, render
from cpgtaxa.names import TAXA

SETTLING = (15, 150)
"""Simulated CpGs of each taxon, and boundary ones, from which ranges are taken."""
BATCH, FEW = 64, 16
"""Images shown at once to the rounded network, and to the exact one: what is lacking is filled up, so that an image's
outputs do not depend on those beside it."""
CLOSE = 4.0
"""Leads below so many standard deviations (from the median) of what rounding does to a lead are close."""
MANY = 5000
"""CpGs of a cohort from which on the engine saves more than it costs to make it ready in each of some five jobs."""
MOST_CLOSE = 0.5
"""Share of close images above which the engine gains nothing."""


def fits() -> str | None:
    """Why OpenVINO cannot be used here, or None where it can."""
    if importlib.util.find_spec("openvino") is None:
        return "the package openvino is not installed"
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    return None if "avx2" in flags else "the processor has no AVX2"


def wanted(engine: str, device: str, precision: str, cpgs: int) -> bool:
    """Whether predictions use OpenVINO: engine = auto, torch or openvino, device = auto, cpu or gpu as resolved.

    `auto` takes it on a CPU where it fits, for MANY CpGs of the cohort, unless the config names a precision. Raises
    InputError where openvino is asked for and cannot be had.
    """
    if engine == "torch" or device != "cpu" or (engine == "auto" and (precision != "auto" or cpgs < MANY)):
        return False
    reason = fits()
    if reason and engine == "openvino":
        raise InputError(
            f"training.engine is openvino, but {reason}: install the version pinned in envs/requirements.txt, or set "
            "training.engine to auto or torch"
        )
    return reason is None


def settling_images(ages, size: int, seed: int) -> np.ndarray:
    """Planes (n, 2, size, size) uint8 of simulated CpGs, for the ages of a cohort."""
    # Here, since scipy.signal, which simulation needs, takes as long to load as all else.
    from cpgtaxa.simulation.training_images import plan, simulate_group

    members = plan(seed, *SETTLING)
    _, values, setting, _ = simulate_group(seed, 0, members, np.asarray(ages, dtype=float), 0.0)
    return planes(render(values, setting.ages), size)


def quicker(predictor, images: np.ndarray):
    """An Engine of a Predictor in float32, or the predictor itself, with a warning, where an engine gains nothing."""
    try:
        engine = Engine(predictor, images)
    except Exception as error:  # of a processor, a system or a network that OpenVINO does not know
        logging.warning(f"OpenVINO cannot run this network here ({str(error).splitlines()[-1][:200]}): torch does")
        return predictor
    if engine.close_share > MOST_CLOSE:
        logging.warning(f"{engine.close_share:.0%} of the images would be close in whole numbers: torch classifies all")
        return predictor
    logging.info(f"OpenVINO classifies in whole numbers; in float32 what leads by less than {engine.lead:.3f} logits")
    return engine


class Engine:
    """A Predictor's network compiled by OpenVINO. `lead`: logits below which a lead is close."""

    def __init__(self, predictor, images: np.ndarray):
        """predictor: in float32 on the CPU. images: (n, 2, size, size) uint8, from which ranges are taken."""
        import openvino

        self.predictor = predictor
        self.device, self.size = predictor.device, predictor.size
        self.temperature, self.kept = predictor.temperature, predictor.kept
        highs, exact = _ranges(predictor, images)
        # Without pinning: jobs that run together would all be pinned to the same cores.
        options = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False, "NUM_STREAMS": 1}
        options |= {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        core = openvino.Core()
        self._whole, self._exact = (
            core.compile_model(_graph(openvino, predictor, *chosen), "CPU", options).create_infer_request()
            for chosen in ((BATCH, highs), (FEW, None))
        )
        self.lead = np.inf
        rounded, _ = self._shown(self._whole, BATCH, images)
        first, second = _two(rounded)
        rows = np.arange(len(images))
        moved = (rounded - exact)[rows, first] - (rounded - exact)[rows, second]
        self.lead = CLOSE * 1.4826 * float(np.median(np.abs(moved)))
        self.close_share = float(np.mean(self._close(rounded)))

    def outputs(self, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw outputs (n, 10) and features (n, d), both float32, of planes (n, 2, size, size) uint8.

        Features are those of the rounded network, for all images.
        """
        logits, features = self._shown(self._whole, BATCH, planes)
        close = np.flatnonzero(self._close(logits))
        logits[close] = self._shown(self._exact, FEW, planes[close])[0]
        return logits, features

    def as_in_float32(self, planes: np.ndarray) -> np.ndarray:
        """Raw outputs (n, 10) float32 of the network in torch, to which the engine's are compared."""
        return self.predictor.logits(planes)

    def _close(self, logits: np.ndarray) -> np.ndarray:
        first, second = _two(logits)
        rows = np.arange(len(logits))
        return ~(logits[rows, first] - logits[rows, second] >= self.lead)

    def _shown(self, request, size: int, planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs and features of a compiled network that takes `size` images at once."""
        logits = np.empty((len(planes), len(TAXA)), dtype=np.float32)
        features = np.empty((len(planes), self.predictor.network.fc.in_features), dtype=np.float32)
        batch = np.zeros((size, *planes.shape[1:]), dtype=np.uint8)
        for start in range(0, len(planes), size):
            part = planes[start : start + size]
            batch[: len(part)] = part
            found = request.infer([batch], share_inputs=True)
            logits[start : start + len(part)] = found[0][: len(part)]
            features[start : start + len(part)] = found[1][: len(part)]
        return logits, features


def _two(logits: np.ndarray) -> np.ndarray:
    """First and second taxon (2, n) of logits (n, 10)."""
    return np.argsort(-logits, axis=1, kind="stable")[:, :2].T


def _ranges(predictor, images: np.ndarray) -> tuple[dict, np.ndarray]:
    """The greatest value that each convolution but the first sees, by its name, and the images' exact logits."""
    highs, hooks = {}, []
    for name, module in predictor.network.named_modules():
        if isinstance(module, torch.nn.Conv2d) and name != "conv1":
            highs[name] = 0.0

            def see(module, inputs, name=name):
                highs[name] = max(highs[name], inputs[0].max().item())

            hooks.append(module.register_forward_pre_hook(see))
    try:
        with torch.inference_mode():
            parts = torch.from_numpy(images).split(BATCH)
            exact = np.concatenate([predictor.network(predictor.normalise(part)).numpy() for part in parts])
    finally:
        for hook in hooks:
            hook.remove()
    return highs, exact


def _graph(openvino, predictor, batch: int, highs: dict | None):
    """The network of models/resnet.py as OpenVINO's graph: planes (batch, 2, size, size) uint8 to logits, features.

    highs: the greatest value that each convolution sees, to round; None for a network in float32.
    """
    ops, network = openvino.opset13, predictor.network

    def convolution(x, name, normalisation):
        layer = network.get_submodule(name)
        folded = fuse(layer, network.get_submodule(normalisation))
        weights = folded.weight.detach().numpy()
        kernel = ops.constant(weights)
        if highs is not None and name in highs:
            most = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), 1e-12)
            kernel = ops.fake_quantize(kernel, -most, most, -most, most, 255)
            top = np.float32(max(highs[name], 1e-6))
            x = ops.fake_quantize(x, np.float32(0), top, np.float32(0), top, 256)
        pads = list(layer.padding)
        x = ops.convolution(x, kernel, list(layer.stride), pads, pads, [1, 1])
        return ops.add(x, folded.bias.detach().numpy().reshape(1, -1, 1, 1))

    def block(x, name):
        left = x
        if network.get_submodule(name).downsample is not None:
            left = convolution(x, f"{name}.downsample.0", f"{name}.downsample.1")
        x = ops.relu(convolution(x, f"{name}.conv1", f"{name}.bn1"))
        return ops.relu(ops.add(convolution(x, f"{name}.conv2", f"{name}.bn2"), left))

    size = predictor.size
    given = ops.parameter([batch, 2, size, size], np.uint8)
    x = ops.gather(ops.convert(given, "f32"), np.array([0, 1, 0], dtype=np.int64), np.int64(1))
    mean, std = (getattr(predictor.normalise, key).numpy() for key in ("mean", "std"))
    x = ops.multiply(ops.subtract(x, 255 * mean), 1 / (255 * std))
    x = ops.relu(convolution(x, "conv1", "bn1"))
    x = ops.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3], "floor").output(0)
    for stage in range(1, 5):
        for number in range(2):
            x = block(x, f"layer{stage}.{number}")
    features = ops.reduce_mean(x, np.array([2, 3], dtype=np.int64), False)
    logits = ops.matmul(features, network.fc.weight.detach().numpy(), False, True)
    logits = ops.add(logits, network.fc.bias.detach().numpy().reshape(1, -1))
    return openvino.Model([logits, features], [given], "ResNet18")
