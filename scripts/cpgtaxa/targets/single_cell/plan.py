"""What the rule file of the target `single_cell` asks. Standard library only, as `cpgtaxa.plan.main`."""

import ast
import pathlib
import struct
import zipfile

from cpgtaxa.errors import InputError, reason_of
from cpgtaxa.plan.paths import in_braces, shard_files

FOLDER = "results/single_cell"
PARTS = {"dna": ("dna",), "cpg": ("cpg",), "joint": ("dna", "cpg")}
"""The networks, and what each of them sees."""
SPLITS = {"train": 0, "val": 1, "test": 2}
SIMULATED = {
    "genome": f"{FOLDER}/simulated/genome.fa.gz",
    "positions": f"{FOLDER}/simulated/positions.csv",
    "taxonomy": f"{FOLDER}/simulated/taxonomy.csv",
    "truth": f"{FOLDER}/simulated/truth.csv",
    "motif": f"{FOLDER}/simulated/motif.txt",
    "islands": f"{FOLDER}/simulated/annotations/islands.bed",
    "motif_sites": f"{FOLDER}/simulated/annotations/motif.bed",
}
TAXONOMY = ("results/taxonomy.parquet", "results/taxonomy.csv.gz")
"""What the main job makes, where it is not there yet."""
RECIPES = {
    # As recommended with DeepCpG.
    "published": {
        "epochs": 30,
        "batch": 128,
        "lr": 1e-4,
        "lr_decay": 0.975,
        "patience": 5,
        "l1": 1e-4,
        "l2": 1e-4,
        "dropout": 0.0,
    },
    # Ten times the learning rate, no L1, half of the features dropped: as good in a few epochs (README).
    "fast": {
        "epochs": 8,
        "batch": 128,
        "lr": 1e-3,
        "lr_decay": 0.7,
        "patience": 2,
        "l1": 0.0,
        "l2": 1e-5,
        "dropout": 0.3,
    },
}
BY_ORDER = ".npz"
"""Sites of all cells, known by their order alone; see `by_order.read_by_order`."""
NAMES = "cells"
"""The array of such a file that may hold the cells' names."""
PROFILE_ENDINGS = tuple(
    f"{kind}{packed}"
    for kind in (".tsv", ".bedgraph", ".bed", ".bg", ".txt", ".cov", ".csv", ".cgmap", ".allc", ".bedmethyl")
    for packed in ("", ".gz")
)


class SingleCellPlan:
    """The config's section `single_cell`, asked as questions."""

    def __init__(self, config: dict):
        self.settings = config["single_cell"]
        self.seed = config["seed"]
        self.training = config["training"]
        self.simulates = self.settings["profiles"] is None
        problems = self._conflicts()
        if problems:
            raise InputError(problems)

    def _conflicts(self) -> list[str]:
        settings, problems = self.settings, []
        keys = [key for key in ("genome", "annotations", "variants") if settings[key]]
        keys += [f"taxa.{key}" for key in ("taxonomy", "positions") if settings["taxa"][key]]
        if self.simulates:
            problems += [
                f"single_cell.{key} is set but single_cell.profiles is not: set both, or neither to simulate"
                for key in keys
            ]
        elif self.by_order:
            problems += [
                f"single_cell.{key} asks for positions, which {settings['profiles']} does not have: leave it out"
                for key in keys
            ]
        elif not settings["genome"]:
            needing = [key for key in ("variants",) if settings[key]]
            needing += [f"taxa.{key}" for key in ("taxonomy",) if settings["taxa"][key]]
            problems += [f"single_cell.{key} needs single_cell.genome (FASTA): it asks for sequence" for key in needing]
        if bool(settings["taxa"]["taxonomy"]) != bool(settings["taxa"]["positions"]):
            problems.append("single_cell.taxa.taxonomy and single_cell.taxa.positions go together")
        if settings["dna_wlen"] % 2 == 0:
            problems.append(f"single_cell.dna_wlen is {settings['dna_wlen']}: an odd number has the CpG in its middle")
        if settings["cpg_wlen"] % 2:
            problems.append(f"single_cell.cpg_wlen is {settings['cpg_wlen']}: write an even number, half for each side")
        if settings["train"] == "jointly" and not settings["joint_model"]:
            problems.append("single_cell.train is jointly, but single_cell.joint_model is empty: name one")
        if settings["joint_model"] and not (settings["dna_model"] and settings["cpg_model"]):
            problems.append(
                "single_cell.joint_model needs single_cell.dna_model and single_cell.cpg_model: name all three, or set "
                "joint_model to null"
            )
        if not self.parts():
            problems.append(
                "single_cell: no model is left to train; name single_cell.cpg_model, or single_cell.dna_model and the "
                "genome"
            )
        paths = self.given_paths()
        return problems + [problem for key, path in paths.items() if (problem := in_braces(f"single_cell.{key}", path))]

    # --- what there is ---

    @property
    def by_order(self) -> bool:
        """Whether an .npz brings sites of all cells in their order, without positions."""
        given = self.settings["profiles"]
        return isinstance(given, str) and given.lower().endswith(BY_ORDER)

    @property
    def has_genome(self) -> bool:
        return self.simulates or bool(self.settings["genome"])

    @property
    def has_taxonomy(self) -> bool:
        return self.simulates or bool(self.settings["taxa"]["taxonomy"])

    def parts(self) -> list[str]:
        """The networks to train, in order; without a genome, the CpG model alone."""
        settings = self.settings
        there = {"dna": settings["dna_model"] and self.has_genome, "cpg": settings["cpg_model"]}
        there["joint"] = settings["joint_model"] and there["dna"] and there["cpg"]
        if settings["train"] == "jointly" and there["joint"]:
            return ["joint"]
        return [part for part in PARTS if there[part]]

    def models(self) -> list[str]:
        """Everything that predicts: networks and peers."""
        return [*self.parts(), *self.settings["peers"]]

    def simulated_profiles(self) -> list[str]:
        number = self.settings["simulate"]["cells"]
        return [f"{FOLDER}/simulated/profiles/cell{one}.tsv.gz" for one in range(1, number + 1)]

    def profiles(self) -> dict[str, str]:
        """Cells and their files, in order. Raises InputError where a folder holds none."""
        if self.simulates:
            return {f"cell{one}": path for one, path in enumerate(self.simulated_profiles(), 1)}
        given = self.settings["profiles"]
        if isinstance(given, dict):
            return dict(given)
        if self.by_order:
            return dict.fromkeys(cell_names(given), given)
        folder = pathlib.Path(given)
        if not folder.is_dir():
            raise InputError(
                f"single_cell.profiles: {given} is no folder (looked in {pathlib.Path.cwd()}); give a folder with one "
                "file per cell, or a list of cells and files"
            )
        found = {}
        for path in sorted(folder.iterdir()):
            ending = next((one for one in reversed(PROFILE_ENDINGS) if path.name.lower().endswith(one)), None)
            if path.is_file() and ending and not path.name.startswith("."):
                name = path.name[: -len(ending)]
                if name in found:
                    raise InputError(
                        f"single_cell.profiles: {found[name]} and {path} are both called {name}: rename one of them, "
                        "or give a list of cells and files"
                    )
                found[name] = str(path)
        if not found:
            raise InputError(
                f"single_cell.profiles: {given} holds no profile; files end in {', '.join(PROFILE_ENDINGS[::2])}, or "
                "these with .gz"
            )
        return found

    def given_paths(self) -> dict[str, str]:
        """The user's paths by key."""
        settings, found = self.settings, {}
        if isinstance(settings["profiles"], dict):
            found |= {f"profiles.{cell}": path for cell, path in settings["profiles"].items()}
        elif settings["profiles"]:
            found["profiles"] = settings["profiles"]
        found |= {f"annotations.{name}": path for name, path in (settings["annotations"] or {}).items()}
        found |= {key: settings[key] for key in ("genome", "variants")}
        found |= {f"taxa.{key}": settings["taxa"][key] for key in ("taxonomy", "positions")}
        return {key: path for key, path in found.items() if path}

    def _there(self, found: dict[str, str]) -> None:
        problems = [
            f"single_cell.{key}: {path} is not there (looked in {pathlib.Path.cwd()}); correct it"
            for key, path in found.items()
            if not pathlib.Path(path).exists() and path not in TAXONOMY
        ]
        if problems:
            raise InputError(problems)

    # --- inputs of rules ---

    def annotations(self) -> dict[str, str]:
        """BED files by name."""
        if self.simulates:
            return {"islands": SIMULATED["islands"], "motif": SIMULATED["motif_sites"]}
        return dict(self.settings["annotations"] or {})

    def genome(self) -> str | None:
        """The FASTA file or the folder of them."""
        return SIMULATED["genome"] if self.simulates else self.settings["genome"]

    def genome_file(self) -> dict[str, str]:
        """The genome as an input, where there is one."""
        return {"genome": self.genome()} if self.genome() else {}

    def sites_input(self) -> dict:
        """All the user's files that sites are made of. Raises InputError naming those that are not there."""
        profiles, annotations = self.profiles(), self.annotations()
        if not self.simulates:
            wanted = {f"profiles.{cell}": path for cell, path in profiles.items()}
            wanted |= {f"annotations.{name}": path for name, path in annotations.items()}
            self._there(wanted | self.genome_file())
        return {
            "profiles": list(profiles.values()),
            "annotations": list(annotations.values()),
            **self.genome_file(),
        }

    def names(self, wildcards) -> dict:
        """Cells and annotations, in the order of their files."""
        return {"cells": list(self.profiles()), "annotations": list(self.annotations())}

    def window_files(self) -> list[str]:
        return shard_files(f"{FOLDER}/input/windows", self.settings["shards"], ".arrow")

    def parts_before(self, wildcards) -> dict[str, str]:
        """Weights the joint model starts from."""
        if wildcards.part != "joint" or self.settings["train"] == "jointly":
            return {}
        return {name: f"{FOLDER}/models/{name}.pt" for name in ("dna", "cpg")}

    def predictions(self) -> dict[str, str]:
        return {model: f"{FOLDER}/predictions/{model}.parquet" for model in self.models()}

    def network_files(self) -> list[str]:
        kinds = (".pt", ".json", "_training_log.csv")
        return [f"{FOLDER}/models/{part}{kind}" for part in self.parts() for kind in kinds]

    def reader(self) -> str | None:
        """The network whose sequence part is read: the DNA model, or the joint one where it is all there is."""
        there = self.parts()
        return "dna" if "dna" in there else "joint" if "joint" in there else None

    def variants_file(self) -> dict[str, str]:
        if not self.settings["variants"]:
            return {}
        self._there({"variants": self.settings["variants"]})
        return {"variants": self.settings["variants"]}

    def taxa_input(self) -> dict[str, str]:
        """Taxonomy, positions and genome."""
        if self.simulates:
            return {key: SIMULATED[key] for key in ("taxonomy", "positions", "genome")}
        found = {key: self.settings["taxa"][key] for key in ("taxonomy", "positions")}
        self._there({f"taxa.{key}": path for key, path in found.items()} | self.genome_file())
        return found | self.genome_file()

    def report_input(self) -> dict:
        """What the page shows beside what every run has."""
        found = {}
        if self.reader():
            found |= {"reading": f"{FOLDER}/reading"}
        if self.has_taxonomy:
            found |= {"taxa": f"{FOLDER}/taxa"}
        if self.simulates:
            found |= {key: SIMULATED[key] for key in ("truth", "motif")}
        return found

    # --- settings of rules ---

    def sites_settings(self) -> dict:
        keys = ("coordinates", "columns", "max_not_cpg", "split", "dna_wlen")
        return {key: self.settings[key] for key in keys}

    def window_settings(self) -> dict:
        return {"dna_wlen": self.settings["dna_wlen"]}

    def device(self) -> dict:
        return {key: self.training[key] for key in ("device", "precision", "threads")}

    def training_settings(self, wildcards) -> dict:
        """Models, windows and the recipe with what the config changes in it."""
        settings = self.settings
        recipe = RECIPES[settings["recipe"]]
        found = {key: value if settings[key] is None else settings[key] for key, value in recipe.items()}
        keys = [f"{name}_model" for name in dict.fromkeys((*PARTS[wildcards.part], wildcards.part))]
        found |= {key: settings[key] for key in (*keys, "dna_wlen", "cpg_wlen", "epoch_sites")} | self.device()
        return found | ({"parts": settings["parts"]} if wildcards.part == "joint" else {})

    def peer_settings(self, wildcards) -> dict:
        keys = {"window_mean": ("window",), "random_forest": ("cpg_wlen", "peer_rows")}[wildcards.peer]
        return {key: self.settings[key] for key in keys}

    def reading_settings(self) -> dict:
        return self.settings["reading"] | self.device()

    def taxa_settings(self) -> dict:
        return {**self.settings["taxa"], **self.device(), "dna_wlen": self.settings["dna_wlen"]}

    def page_settings(self) -> dict:
        keys = ("imputed", "confident", "recipe", "train", "parts", "dna_wlen", "cpg_wlen", "window", "peer_rows")
        keys += ("dna_model", "cpg_model", "joint_model")
        found = {key: self.settings[key] for key in keys} | {"simulates": self.simulates, "models": self.models()}
        return found | {"counted": "sites" if self.by_order else "bases"}

    def states(self, wildcards) -> dict[str, list[int]]:
        """Size and time of the user's files: one older than the results is noticed too."""
        if self.simulates:
            return {}
        paths = {**self.profiles(), **self.annotations(), **self.genome_file()}
        states = {key: pathlib.Path(path).stat() for key, path in paths.items() if pathlib.Path(path).exists()}
        return {key: [state.st_size, int(state.st_mtime)] for key, state in states.items()}

    def gpus(self, wildcards) -> int:
        """GPUs a job asks the scheduler for."""
        return 1 if self.training["device"] == "gpu" else 0


def cell_names(path) -> list[str]:
    """Names of the cells, in their order: the array `cells`, or cell1, cell2 … Reads headers alone.

    Raises InputError for a file that is no such .npz.
    """
    what = f"single_cell.profiles: {path}"
    if not pathlib.Path(path).is_file():
        raise InputError(f"{what} is not there (looked in {pathlib.Path.cwd()}); correct it")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if NAMES in members:
                with archive.open(members[NAMES]) as member:
                    descr, shape = _header(member)
                    width = int(descr[2:]) if descr[:2] == "<U" and len(shape) == 1 else 0
                    text = member.read().decode("utf-32-le") if width else ""
                names = [text[at * width : (at + 1) * width].rstrip("\0") for at in range(shape[0])] if width else []
            else:
                with archive.open(next(iter(members.values()))) as member:
                    shape = _header(member)[1]
                names = [f"cell{number}" for number in range(1, shape[1] + 1)] if len(shape) == 2 else []
    except MemoryError:
        raise
    except Exception as error:  # zipfile raises what spoilt bytes lead to, of many kinds
        raise InputError(f"{what} is damaged or no .npz ({reason_of(error)}): copy it again") from error
    if not names or not all(names) or len(set(names)) < len(names):
        raise InputError(
            f"{what} needs one array per chromosome, sites in rows and cells in columns, and may have an array "
            f"`{NAMES}` with the name of each, once"
        )
    return names


def _header(member) -> tuple[str, tuple[int, ...]]:
    """dtype and shape in the header of a .npy, as numpy's format has them (versions 1 to 3)."""
    magic = member.read(8)
    if magic[:6] != b"\x93NUMPY":
        raise ValueError("no .npy in it")
    (size,) = struct.unpack("<H", member.read(2)) if magic[6] == 1 else struct.unpack("<I", member.read(4))
    header = ast.literal_eval(member.read(size).decode("latin1"))
    return str(header["descr"]), tuple(header["shape"])
