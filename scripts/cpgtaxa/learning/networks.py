"""A trained network for images: in use, and its files.

Nothing here needs what training needs: jobs that only predict start in half the time without lightning.
"""

import copy
import io
import json
import pathlib
from tokenize import TokenError

import numpy as np
import torch
from torch.fx.experimental.optimization import fuse

from cpgtaxa.errors import InputError, refuse
from cpgtaxa.files import atomic, write_json
from cpgtaxa.input.texts import unzipped
from cpgtaxa.learning.devices import placed
from cpgtaxa.learning.saving import save, tensors
from cpgtaxa.models import create_model, resnet  # noqa: F401 - by name: seen here, edits rerun
from cpgtaxa.names import TAXA
from cpgtaxa.progress import Progress

LOG_COLUMNS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "epoch_duration_s")
"""Columns of the published training log."""


def spread_over_gpus(number: int) -> None:
    """Make this process use one of several GPUs: jobs of consecutive numbers take them in turn.

    Where a scheduler shows a job a single GPU, that one is used.
    """
    there = torch.cuda.device_count()
    if there > 1:
        torch.cuda.set_device(number % there)


class Normalise(torch.nn.Module):
    """uint8 planes [red, green] to normalised float images [red, green, blue = red]."""

    def __init__(self, statistics):
        super().__init__()
        self.register_buffer("mean", torch.tensor(statistics["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(statistics["std"]).view(1, 3, 1, 1), persistent=False)

    def forward(self, planes):
        images = planes[:, [0, 1, 0]].float().div_(255)
        return images.sub_(self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)


class Predictor:
    """A trained network, its normalisation and its temperature, ready for image planes."""

    def __init__(self, network, statistics, size, temperature=1.0, device="auto", precision="auto", kept=None):
        """kept: features (n, d) of training images, to which `distances` are taken."""
        self.device, self.bfloat16 = placed(device, precision)
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)
        # Batch normalisation folded into the convolutions: the same outputs to rounding, a tenth faster.
        self._folded = fuse(self.network).to(memory_format=torch.channels_last)
        self.normalise = Normalise(statistics).to(self.device)
        self.size, self.temperature, self.kept = size, temperature, kept

    def logits(self, planes: np.ndarray, batch: int = 256) -> np.ndarray:
        """Raw outputs (n, 10) float32 for planes (n, 2, size, size) uint8, an array or a tensor anywhere."""
        return self.outputs(planes, batch)[0]

    def outputs(self, planes: np.ndarray, batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """Raw outputs (n, 10) and features (n, d), both float32, for planes as in `logits`.

        Features are what the last linear layer sees: the network's own description of an image.
        """
        found, seen = [np.empty((0, len(TAXA)), dtype=np.float32)], []
        last = [module for module in self._folded.modules() if isinstance(module, torch.nn.Linear)][-1]
        hook = last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].float().cpu().numpy()))
        planes = torch.as_tensor(planes)
        try:
            with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
                progress = Progress(len(planes), "images shown to the network")
                for start in range(0, len(planes), batch):
                    part = planes[start : start + batch].to(self.device)
                    found.append(self._folded(self.normalise(part)).float().cpu().numpy())
                    progress.step(len(part))
        finally:
            hook.remove()
        features = np.concatenate(seen) if seen else np.empty((0, last.in_features), dtype=np.float32)
        return np.concatenate(found), features


def save_model(
    network, paths: dict, *, model_name, statistics, size, temperature, recipe, seed, features, extra=None
) -> None:
    """Write weights (plain state dict), normalisation statistics (`mean`, `std`), features kept, and the card."""
    save(paths["weights"], network.state_dict())
    save_features(paths["features"], features)
    write_json(paths["stats"], statistics)
    card = {
        "model": model_name,
        "arguments": {"classes": len(TAXA)},
        "taxa": list(TAXA),
        "image_size": size,
        "temperature": temperature,
        "recipe": recipe,
        "seed": seed,
        "torch": torch.__version__,
    }
    write_json(paths["card"], card | (extra or {}))


def save_features(path, features: np.ndarray) -> None:
    """Write features (n, d) as float16."""
    with atomic(path) as temporary, open(temporary, "wb") as handle:
        np.save(handle, features.astype(np.float16), allow_pickle=False)


def load_features(path, width: int) -> np.ndarray:
    """Features (n, width) float16 of training images. Raises InputError if the file holds anything else."""
    try:
        features = np.array(np.load(path, mmap_mode="r", allow_pickle=False))  # mapped: no memory for what is not there
    except (OSError, ValueError, EOFError, OverflowError, TypeError, AttributeError, SyntaxError, TokenError) as error:
        raise InputError(f"features {path}: damaged, or no array of numbers ({type(error).__name__})") from error
    if features.dtype != np.float16 or features.ndim != 2 or (len(features) and features.shape[1] != width):
        raise InputError(
            f"features {path}: an array of shape {features.shape} and type {features.dtype}, not (n, {width}) float16; "
            "copy the file that belongs to the weights"
        )
    if not np.isfinite(features).all():
        raise InputError(f"features {path}: holds values that are not finite; copy it again")
    return features


STEP = 0.5
"""Weights to ship are rounded to this share of their output channel's standard deviation."""
SETTLING = 3000
"""Training images from which batch normalisation is estimated anew after rounding."""


def rounded(network, planes, statistics) -> dict:
    """A network's state dict with large tensors as whole numbers (int8) and a step per output channel (`<name>.step`).

    Rounding shifts what batch normalisation sees: its means and variances are estimated anew from `planes`, (n, 2,
    size, size) uint8 of training images, in their order. Without that, up to one image in a hundred is lost.
    """
    state = _rounded(network.state_dict())
    settled = copy.deepcopy(network)
    settled.load_state_dict(_unrounded(dict(state)))
    for module in settled.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    normalise = Normalise(statistics)
    with torch.no_grad():
        for part in torch.from_numpy(np.ascontiguousarray(planes[:SETTLING])).split(250):
            settled.train()(normalise(part))
    return state | {key: value for key, value in settled.state_dict().items() if "running_" in key}


def _unrounded(state: dict) -> dict:
    steps = {key.removesuffix(".step"): state.pop(key) for key in list(state) if key.endswith(".step")}
    return {key: value * steps[key] if key in steps else value for key, value in state.items()}


def _rounded(state: dict) -> dict:
    found = {}
    for key, value in state.items():
        if value.ndim > 1:
            step = STEP * value.flatten(1).std(1).view(-1, *[1] * (value.ndim - 1))
            found[key], found[f"{key}.step"] = torch.round(value / step).clamp(-127, 127).to(torch.int8), step
        else:
            found[key] = value
    return found


LARGEST_SIZE = 1024
"""Pixels along a side of the images that a network can have been trained on."""
LARGEST_WEIGHTS = 512 << 20
"""Bytes that gzipped weights may unpack to: ten times those of a ResNet18."""


def _load_state(path: pathlib.Path) -> dict:
    """A state dict from a file, or from a gzipped one of `rounded` weights; nothing in it is ever executed."""
    with open(path, "rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    if not packed:
        return tensors(path)
    data = unzipped(path.read_bytes(), LARGEST_WEIGHTS)
    if data is None:
        raise ValueError(f"it unpacks to more than {LARGEST_WEIGHTS >> 20} MB")
    state = tensors(io.BytesIO(data))
    return _unrounded(state)


def load_weights(path, model_name: str) -> torch.nn.Module:
    """Network `model_name` with the weights of a state dict file; nothing in the file is ever executed.

    Raises InputError if the file is missing, holds anything but tensors, or fits another network or class count.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(
            f"weights {path}: no such file{' but a folder' if path.is_dir() else ''}; give the path of a "
            f"{model_name}_best_model.pt"
        )
    if not path.stat().st_size:
        raise InputError(f"weights {path}: the file is empty; copy it again")
    try:
        state = _load_state(path)
    except Exception as error:
        raise InputError(
            f"weights {path}: refused, since it is not a plain PyTorch state dict ({type(error).__name__}), or "
            "damaged; copy it again, or save it again with torch.save(model.state_dict(), path)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        raise InputError(
            f"weights {path}: a training checkpoint, not a plain state dict; save its `state_dict` alone, with the "
            f"names of a {model_name}, as with torch.save(model.state_dict(), path)"
        )
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise InputError(f"weights {path}: holds no state dict; save model.state_dict(), not the model")
    network = create_model(model_name)
    expected = network.state_dict()
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if problem := _misfit(state, expected, model_name):
        raise InputError(f"weights {path}: {problem}")
    try:
        network.load_state_dict({key: state[key] for key in expected})
    except (RuntimeError, TypeError) as error:  # sparse, quantised … tensors
        raise InputError(
            f"weights {path}: tensors that cannot be taken over ({str(error).splitlines()[-1].strip()}); save plain "
            "float32 tensors"
        ) from error
    odd = [key for key, value in network.state_dict().items() if not torch.isfinite(value).all()]
    if odd:
        raise InputError(
            f"weights {path}: {len(odd)} tensors hold NaN or infinite values, {odd[0]!r} first: the training went "
            "astray, or the file is damaged; give other weights"
        )
    return network.eval()


def _misfit(state: dict, expected: dict, model_name: str) -> str | None:
    """Why a state dict is not that of the network, or None."""
    last = state.get("fc.weight")
    if last is not None and last.ndim == 2 and last.shape[0] != len(TAXA):
        return (
            f"made for {last.shape[0]} classes, but the taxonomy has {len(TAXA)}; give weights trained on the ten taxa "
            f"in this order: {', '.join(TAXA)}"
        )
    give = f"; give weights of a {model_name}"
    if missing := sorted(set(expected) - set(state)):
        return f"not a {model_name}: lacks {len(missing)} tensors, {missing[0]!r} first{give}"
    if wrong := [key for key in expected if expected[key].shape != state[key].shape]:
        return f"not a {model_name}: tensor {wrong[0]!r} has another shape{give}"
    if more := sorted(set(state) - set(expected)):  # a ResNet34 has all that a ResNet18 has
        return f"not a {model_name}: has {len(more)} tensors too many, {more[0]!r} first{give}"
    return None


def _json_object(path, what: str) -> dict:
    """The object in a small JSON file of the user's. Raises InputError."""
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{what} {path}: no such file; give the path of the one that lies beside the weights")
    try:
        if path.stat().st_size > 1 << 20:
            raise ValueError("it is larger than 1 MB")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object in braces")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} {path}: not JSON as expected ({error}); copy it again") from error
    return content


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9  # not NaN either


def load_statistics(path) -> dict:
    """Normalisation statistics {'mean': [3], 'std': [3]} from a published JSON; InputError if they are not that."""
    what = "normalisation statistics"
    content = _json_object(path, what)
    needs = 'needs {"mean": [r, g, b], "std": [r, g, b]} of pixels on the scale 0-1'
    problems = [f"{what} {path}: {needs}; {key!r} is missing" for key in ("mean", "std") if key not in content]
    refuse(problems)
    for key in ("mean", "std"):
        values = content[key]
        if not isinstance(values, list) or len(values) != 3 or not all(map(_is_number, values)):
            problems.append(f"{what} {path}: {needs}; {key!r} is {str(values)[:80]}, not three numbers")
        elif key == "std" and not all(0 < value <= 1 for value in values):
            problems.append(f"{what} {path}: {needs}; the standard deviations {values} are not above 0 and at most 1")
        elif key == "mean" and not all(0 <= value <= 1 for value in values):
            problems.append(f"{what} {path}: {needs}; the means {values} are not between 0 and 1")
    refuse(problems)
    return {key: [float(value) for value in content[key]] for key in ("mean", "std")}


def load_card(path) -> tuple[int, float]:
    """Image size in pixels and temperature from a model's card; InputError if they are not there.

    Also where the card says that the network has other classes than the ten taxa, in their order.
    """
    content = _json_object(path, "model card")
    taxa, arguments = content.get("taxa", list(TAXA)), content.get("arguments", {"classes": len(TAXA)})
    if taxa != list(TAXA) or arguments != {"classes": len(TAXA)}:
        raise InputError(
            f"model card {path}: of a network with other classes ({str(taxa)[:80]}; arguments {str(arguments)[:80]}) "
            f"than the ten taxa in this order: {', '.join(TAXA)}; give weights of a network trained on them"
        )
    size, temperature = content.get("image_size"), content.get("temperature")
    if type(size) is not int or not 8 <= size <= LARGEST_SIZE or not _is_number(temperature) or temperature <= 0:
        raise InputError(
            f"model card {path}: needs image_size (a whole number of pixels, 8 to {LARGEST_SIZE}) and temperature "
            f"(above 0), found {str(size)[:40]} and {str(temperature)[:40]}; copy the card that belongs to the "
            "weights, or remove it"
        )
    return size, float(temperature)


def load_predictor(
    weights, stats, card=None, features=None, *, model_name, size=224, device="auto", precision="auto"
) -> Predictor:
    """A Predictor from files; `card` (if it is there) gives image size and temperature, `features` what it learnt."""
    temperature = 1.0
    if card is not None and pathlib.Path(card).is_file():
        size, temperature = load_card(card)
    network = load_weights(weights, model_name)
    kept = load_features(features, network.fc.in_features) if features is not None else None
    return Predictor(network, load_statistics(stats), size, temperature, device, precision, kept)
