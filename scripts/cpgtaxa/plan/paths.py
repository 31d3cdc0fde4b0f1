"""Names of files and shards that rules and jobs agree on. Standard library only; it changes rarely."""

MODELS = ("ResNet18", "MixResNet18")
MODEL_FILES = {
    "weights": "best_model.pt",
    "stats": "normalization_stat.json",
    "card": "model.json",
    "log": "training_log.csv",
    "features": "features.npy",
}


NETWORK = ("weights", "stats", "card", "features")
"""What a network is made of, for those who ask it."""

CELL_FRACTIONS = "cell_fractions"
"""Among the covariates: the cell fractions estimated from the user's reference."""


def model_of(round_number) -> str:
    """ResNet18 in round 0, MixResNet18 afterwards."""
    return MODELS[0] if int(round_number) == 0 else MODELS[1]


def round_file(round_number, name: str) -> str:
    """Path of a file of a round."""
    return f"results/round_{round_number}/{name}"


def model_file(round_number, kind: str) -> str:
    """Path of the round's model file: weights, stats, card or log."""
    return round_file(round_number, f"{model_of(round_number)}_{MODEL_FILES[kind]}")


def parts(round_number) -> dict[str, str]:
    """Paths of the round's training, validation and test CSV."""
    return {part: round_file(round_number, f"{part}_info.csv") for part in ("training", "val", "test")}


def shard_files(folder: str, shards: int, ending: str = ".parquet") -> list[str]:
    """All shard files of a folder, in order."""
    return [f"{folder}/{shard}-of-{shards}{ending}" for shard in range(shards)]


def shard_bounds(shard: int, shards: int, n: int, least: int = 1) -> tuple[int, int]:
    """First and one-past-last of a shard's CpGs: `least` at least, so that of few CpGs the last shards have none."""
    filled = max(min(shards, n // least), 1)
    return min(shard, filled) * n // filled, min(shard + 1, filled) * n // filled


def in_braces(key: str, path) -> str:
    """What to say of a name that Snakemake misreads; "" where it does not."""
    if not set("{}") & set(path or ""):
        return ""
    return f"{key}: {path} has braces in its name, which Snakemake takes for wildcards: rename the file or folder"
