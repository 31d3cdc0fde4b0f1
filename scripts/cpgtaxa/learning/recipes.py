"""Training recipes: what the published notebooks did, and a faster one, as plain settings.

`flip` mirrors beta at random and `mirror_age` age; `label_smoothing` is the share of a target spread over all taxa;
`ema` is the decay of a running mean of the weights, which then is the network (0: none); `balance` draws every taxon
equally often, whatever its number of images; `boundary` takes boundary CpGs along; `warm_start` continues
from a given network. tests/benchmarks/recipes.py measures what each of them gives.
"""

PUBLISHED_RESNET18 = {
    "optimiser": "adam",
    "lr": 0.01,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "plateau",
    "batch": 64,
    "epochs": 40,
    "patience": 0,
    "min_delta": 0.0,
    "monitor": "val_acc",
    "flip": False,
    "mirror_age": False,
    "label_smoothing": 0.0,
    "ema": 0.0,
    "balance": False,
    "boundary": False,
    "warm_start": False,
}
"""Published ResNet18: Adam 0.01, ReduceLROnPlateau(0.1, patience 3) on validation loss, 40 epochs, best accuracy."""

PUBLISHED_MIXRESNET18 = PUBLISHED_RESNET18 | {
    "optimiser": "sgd",
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "batch": 128,
    "epochs": 500,
    "patience": 30,
    "min_delta": 1e-4,
}
"""Published MixResNet18: SGD with momentum, up to 500 epochs, early stopping on accuracy.

Its plateau scheduler was fed accuracy in `min` mode, which lowers the rate while accuracy rises; here it follows the
validation loss, as ResNet18's does.
"""

FAST_RESNET18 = PUBLISHED_RESNET18 | {
    "optimiser": "adamw",
    "lr": 0.002,
    "weight_decay": 0.02,
    "schedule": "one_cycle",
    "epochs": 14,
    "monitor": "val_loss",
    "flip": True,
    "boundary": True,
}
"""AdamW under a one-cycle schedule; beta mirrored at random (every taxon is symmetric in beta); boundary CpGs."""

TUNED_RESNET18 = FAST_RESNET18 | {"lr": 0.0006, "epochs": 4, "warm_start": True}
"""The same, continued from the shipped network (`training.initial`)."""

FAST_MIXRESNET18 = FAST_RESNET18 | {"lr": 0.0004, "epochs": 6, "warm_start": True}
"""The same, continued from the previous round's network, hence shorter."""

RECIPES = {
    "fast": {"ResNet18": FAST_RESNET18, "MixResNet18": FAST_MIXRESNET18},
    "published": {"ResNet18": PUBLISHED_RESNET18, "MixResNet18": PUBLISHED_MIXRESNET18},
}


def recipe(preset: str, model_name: str, overrides: dict | None = None, tuned: bool = False) -> dict:
    """Settings of a preset for a model, with the user's overrides (None values are ignored).

    tuned: whether the first round's network continues from the shipped one.
    """
    chosen = {key: value for key, value in (overrides or {}).items() if value is not None}
    base = TUNED_RESNET18 if tuned and model_name == "ResNet18" else RECIPES[preset][model_name]
    return base | chosen
