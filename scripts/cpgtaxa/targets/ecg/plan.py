"""What the rule file of the target `ecg_age` asks. Standard library only, as `cpgtaxa.plan.main`."""

import functools
import os
import pathlib

from cpgtaxa.errors import InputError
from cpgtaxa.plan.paths import in_braces

FOLDER = "results/ecg_age"
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
GROUPS = ("adult", "child")
AGES = {"adult": (19.0, 122.0), "child": (0.0, 9.0)}
"""Lowest and highest age that the published model of a group can give."""
NETWORKS = ("ResDenseNet", "ResUDenseNet")
PEERS = ("GradientBoosting", "Median")
PARTS = 10
"""A tenth of a group's records is held out at a time, as published."""
KNOWN, ASKED = "input", "asked"
"""The parts that records are read in, and their folders: those with ages, and those whose ages are asked."""
COHORT_CLOCK = "results/methylation_age.csv"
"""The methylation ages that the workflow itself makes of the cohort."""
ENDINGS = (".hea", ".npy", ".mat")
"""Of the files that are a record each; in a folder with .hea files, .mat files are their signals."""
SIZES = {
    "published": {},
    "narrow": {"width": 16, "narrow": 8, "layers": 4, "growth": 8, "heads": 4, "averaged": 4},
}
"""What networks are built with beside their published values.

Of a narrow one, four samples averaged leave 125 Hz: the filter lets nothing above 47 Hz through (`signals.BAND`).
"""
TRAINING = {
    "published": {"epochs": 60, "batch_size": 32, "lr": 0.001, "warmup": 0},
    "narrow": {"epochs": 20, "batch_size": 32, "lr": 0.003, "warmup": 1},
}
"""How networks of a size are trained where the config does not say; `lr_step` is a third of the epochs."""


def file_of(part: str, name: str) -> str:
    """A file that the input step leaves of a part."""
    return f"{FOLDER}/{part}/{name}"


def size_of(settings: dict) -> str:
    """Of the networks: as the config says, else as published, but narrow for simulated records."""
    return settings["size"] or ("published" if settings["records"] else "narrow")


def training(settings: dict) -> dict:
    """The keys of TRAINING and `lr_step`: as the config says, else those of the networks' size."""
    usual = TRAINING[size_of(settings)]
    found = {key: value if settings[key] is None else settings[key] for key, value in usual.items()}
    return found | {"lr_step": settings["lr_step"] or -(-found["epochs"] // 3)}


class EcgPlan:
    """The config's section `ecg_age`, asked as questions."""

    def __init__(self, config: dict):
        self.settings = config["ecg_age"] | training(config["ecg_age"])
        self.seed = config["seed"]
        self.training = {key: config["training"][key] for key in ("device", "precision", "threads")}
        if self.size == "narrow":
            # Threads would wait for each other more than they work, and the last digits, on few records years, differ.
            self.training["threads"] = 1
        self.save_dir = self.settings["save_dir"].rstrip("/")
        self.simulates = not self.settings["records"]
        self.networks = {group: name for group, name in self.settings["networks"].items() if name}
        problems = self._conflicts()
        if problems:
            raise InputError(problems)

    def _conflicts(self) -> list[str]:
        settings, problems = self.settings, []
        if self.simulates:
            problems += [
                f"ecg_age.{key} is set, but ecg_age.records is not: give the folder of the records too"
                for key in ("sheet", "asked")
                if settings[key]
            ]
        problems += self._published_conflicts()
        if not self.networks:
            problems.append("ecg_age.networks has no network: name one for adult, child or both")
        for group in settings["asked"] or {}:
            if group not in self.networks:
                problems.append(f"ecg_age.asked.{group}: ecg_age.networks.{group} is null; name a network to ask")
        paths = {"save_dir": settings["save_dir"], **self._given()}
        return problems + [problem for key, path in paths.items() if (problem := in_braces(f"ecg_age.{key}", path))]

    def _published_conflicts(self) -> list[str]:
        """What lacks for ages of another network to stand beside ours."""
        wanted = [key for key, value in self.settings["published"].items() if value]
        lacking = [key for key in ("asked", "sheet") if not self.settings[key]]
        if not wanted or not lacking:
            return []
        return [
            f"ecg_age.published.{wanted[0]} is set, and compares ages of the records asked about with those in the "
            f"sheet: set {' and '.join(f'ecg_age.{key}' for key in lacking)} too"
        ]

    def _given(self) -> dict[str, str | None]:
        """Paths of the config by key."""
        asked = {f"asked.{group}": path for group, path in (self.settings["asked"] or {}).items()}
        network = {"published.network": self.settings["published"]["network"]}
        return {key: self.settings[key] for key in ("records", "sheet", "methylation")} | asked | network

    # Input

    @functools.cached_property
    def _missing(self) -> list[str]:
        """What of the user's files is not there, which is said when they are asked for."""
        problems = []
        for key, path in self._given().items():
            if path == COHORT_CLOCK:  # made when asked for
                continue
            is_folder = key not in ("sheet", "methylation")
            if path and not (pathlib.Path(path).is_dir() if is_folder else pathlib.Path(path).is_file()):
                what = "is not there" if not pathlib.Path(path).exists() else "is a file, not a folder"
                if not is_folder and pathlib.Path(path).exists():
                    what = "is a folder, not a file"
                problems.append(f"ecg_age.{key}: {path} {what} (looked in {pathlib.Path.cwd()}); correct it")
        return problems

    def _check(self) -> None:
        if self._missing:
            raise InputError(self._missing)

    def simulated_files(self) -> dict[str, str]:
        return {
            "sheet": f"{FOLDER}/simulated/sheet.csv",
            "truth": f"{FOLDER}/simulated/truth.csv",
            "methylation": f"{FOLDER}/simulated/methylation.csv",
        }

    @property
    def simulated_records(self) -> str:
        return f"{FOLDER}/simulated/records"

    def input_files(self, part: str) -> dict[str, str]:
        """What the input step of a part waits for. Raises InputError where the user's files are not there."""
        self._check()
        if self.simulates:
            return {"records": self.simulated_records, "sheet": self.simulated_files()["sheet"]}
        return {"sheet": self.settings["sheet"]} if self.settings["sheet"] else {}

    def input_settings(self, part: str) -> dict:
        """What the input step of a part needs to know; of the user's folders also number, size and age of files."""
        self._check()
        keys = ("lead_names", "npy", "max_lost_leads", "min_seconds")
        folders = {None: self.simulated_records if self.simulates else self.settings["records"]}
        if part == ASKED:
            folders = self.settings["asked"] or {}
        return {key: self.settings[key] for key in keys} | {
            "folders": [[group, folder] for group, folder in folders.items()],
            "groups": list(self.networks),
            "states": {} if self.simulates else {folder: _state(folder) for folder in folders.values()},
            "others": list((self.settings["asked"] or {}).values()) if part == KNOWN else [],
        }

    @property
    def parts(self) -> list[str]:
        return [KNOWN, ASKED] if self.settings["asked"] else [KNOWN]

    # Models

    @property
    def size(self) -> str:
        return size_of(self.settings)

    def features(self) -> list[str]:
        """Parts of the measured intervals and amplitudes."""
        shards = self.settings["shards"]
        return [f"{FOLDER}/features/{shard}-of-{shards}.parquet" for shard in range(shards)]

    def weights(self, group: str, fold) -> str:
        return f"{self.save_dir}/{group}/{self.networks[group]}_{fold}.pt"

    def fit_settings(self) -> dict:
        """What training a network needs to know."""
        keys = ("epochs", "batch_size", "lr", "lr_step", "lr_decay", "warmup")
        return {key: self.settings[key] for key in keys} | self.training | {"build": SIZES[self.size]}

    def reading_settings(self) -> dict:
        """What asking a network where it looks needs to know."""
        return self.settings["reading"] | self.training | {"build": SIZES[self.size]}

    def predict_settings(self) -> dict:
        """What telling the ages of new records needs to know."""
        return self.training | {"build": SIZES[self.size]}

    def reading_input(self, group: str) -> dict[str, str]:
        return {"weights": self.weights(group, 0)}

    def predict_input(self, group: str) -> dict[str, list[str]]:
        """The networks of all tenths, which together predict the ages of the records asked about."""
        return {"weights": [self.weights(group, fold) for fold in range(self.settings["held_out"])]}

    # Another network

    def published_input(self) -> dict[str, str | list[str]]:
        """What the ages of another network wait for, and ours beside them."""
        groups = self.settings["asked"] or {}
        found: dict[str, str | list[str]] = {
            "predictions": [f"{FOLDER}/predictions/{group}/asked.parquet" for group in groups],
            "sheet": self.settings["sheet"] or [],
        }
        network = self.settings["published"]["network"]
        if network:
            found["network"] = [f"{network.rstrip('/')}/{name}" for name in ("config.json", "model.pth")]
        return found

    def published_settings(self) -> dict:
        """What predicting and comparing the ages of another network needs to know."""
        keys = ("lead_names", "npy", "coverage")
        return {key: self.settings[key] for key in keys} | {
            "folders": [[group, folder] for group, folder in (self.settings["asked"] or {}).items()],
            "networks": self.networks,
            "column": self.settings["published"]["column"],
            "device": self.training["device"],
            "precision": self.training["precision"],
            "threads": self.training["threads"],
        }

    @property
    def published_files(self) -> dict[str, str]:
        """Tables of another network's ages beside ours, where the config has one."""
        if not any(self.settings["published"].values()):
            return {}
        return {"ages": f"{FOLDER}/published_ages.csv", "scores": f"{FOLDER}/published.csv"}

    # Page

    def page_files(self) -> dict[str, list[str]]:
        """What the page reads. Raises InputError where the user's files are not there."""
        self._check()
        folds = range(self.settings["held_out"])
        found = {
            "features": self.features(),
            "networks": [
                f"{FOLDER}/predictions/{group}/{name}_{fold}.parquet"
                for group, name in self.networks.items()
                for fold in folds
            ],
            "logs": [
                f"{self.save_dir}/{group}/{name}_{fold}_log.csv"
                for group, name in self.networks.items()
                for fold in folds
            ],
            "peers": [
                f"{FOLDER}/predictions/{group}/{peer}.parquet"
                for group in self.networks
                for peer in self.settings["peers"]
            ],
            "asked": [f"{FOLDER}/predictions/{group}/asked.parquet" for group in self.settings["asked"] or {}],
            "left_out": [file_of(part, "left_out.csv") for part in self.parts],
            "readings": [f"{FOLDER}/reading/{group}.npz" for group in self.networks]
            if self.settings["reading"]["records"]
            else [],
        }
        if self.simulates:
            found["truth"] = self.simulated_files()["truth"]
        if self.settings["asked"]:
            found["asked_records"] = file_of(ASKED, "records.parquet")
        if self.methylation_file():
            found["methylation"] = f"{FOLDER}/input/methylation.parquet"
        return found

    def page_settings(self) -> dict:
        """What scores and page need to know."""
        keys = ("held_out", "epochs", "batch_size", "lr", "lr_step", "lr_decay", "warmup", "coverage", "peers")
        keys += ("max_lost_leads", "min_seconds", "reading")
        return {key: self.settings[key] for key in keys} | {
            "networks": self.networks,
            "size": self.size,
            "simulated": self.simulates,
        }

    def methylation_file(self) -> str | list:
        """The table of methylation ages; none without one. Raises InputError where it is not there."""
        self._check()
        # The simulated clock is of adults: where no model is for them, there is nothing to join.
        simulated = self.simulated_files()["methylation"] if self.simulates and "adult" in self.networks else []
        return self.settings["methylation"] or simulated

    def joined_file(self) -> dict[str, str]:
        """The table of both age gaps, where there is a methylation age."""
        clock = self.settings["methylation"] or (self.simulates and "adult" in self.networks)
        return {"joined": f"{FOLDER}/joined.csv"} if clock else {}

    def memory(self, wildcards, attempt: int) -> int:
        """MB for a network: the published ResDenseNet takes 5.9 GB in bfloat16 with batches of 32, twice in float32."""
        return (12_000 if self.size == "published" else 4_000) * attempt

    def gpus(self, wildcards) -> int:
        """GPUs a network asks the scheduler for."""
        return int(self.training["device"] == "gpu")


def _state(folder: str) -> list[int]:
    """Number of files below a folder, their bytes, and the time of the latest in s."""
    number = size = latest = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                state = os.stat(os.path.join(top, name))
            except OSError:  # a link to nothing: the input step will say so
                continue
            number, size, latest = number + 1, size + state.st_size, max(latest, int(state.st_mtime))
    return [number, size, latest]
