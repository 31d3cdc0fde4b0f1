"""What the rule file of the target `expression` asks. Standard library only, as `cpgtaxa.plan.main`."""

import pathlib

from cpgtaxa.errors import InputError
from cpgtaxa.plan.paths import in_braces, shard_files

TRAIN = "train"
"""The set of the samples that models are trained and cross-validated on."""
FOLDER = "results/expression"
SIMULATED = {
    "beta": f"{FOLDER}/simulated/beta.csv.gz",
    "expression": f"{FOLDER}/simulated/expression.csv.gz",
    "positions": f"{FOLDER}/simulated/positions.csv",
    "genes": f"{FOLDER}/simulated/genes.csv",
    "truth": f"{FOLDER}/simulated/truth.csv",
    "taxonomy": f"{FOLDER}/simulated/taxonomy.csv",
}
TAXONOMY = ("results/taxonomy.parquet", "results/taxonomy.csv.gz")
"""What the main job makes, where it is not there yet."""
GIVEN = ("beta", "expression", "positions", "genes", "samples", "taxonomy")


def window_name(window: int) -> str:
    """A window in file and column names: 1kb, 1Mb; bases where it is no round number."""
    for unit, size in (("Mb", 1_000_000), ("kb", 1000)):
        if window % size == 0:
            return f"{window // size}{unit}"
    return f"{window}b"


IN_ALL_WINDOWS = ("DeepMethyGene", "Ridge")
"""Models that are fitted in the narrower windows too, where the config names none."""


class ExpressionPlan:
    """The config's section `expression`, asked as questions."""

    def __init__(self, config: dict):
        self.settings = dict(config["expression"])
        if self.settings["window_models"] is None:
            self.settings["window_models"] = [name for name in IN_ALL_WINDOWS if name in self.settings["models"]]
        self.seed = config["seed"]
        self.device = {key: config["training"][key] for key in ("device", "precision")}
        self.simulates = self.settings["beta"] is None
        problems = self._conflicts()
        if problems:
            raise InputError(problems)

    def _conflicts(self) -> list[str]:
        settings, problems = self.settings, []
        given = self.given_paths()
        if self.simulates:
            for key in ("expression", "positions", "genes", "samples", "taxonomy"):
                if settings[key]:
                    problems.append(
                        f"expression.{key} is set but expression.beta is not: set both, or neither to simulate"
                    )
            if settings["other"]["beta"]:
                problems.append("expression.other.beta is set but expression.beta is not: another cohort needs a first")
        elif not settings["expression"]:
            problems.append("expression.expression is missing: the matrix of expression, genes in rows (log scale)")
        if bool(settings["positions"]) != bool(settings["genes"]):
            problems.append(
                "expression.positions and expression.genes go together: windows need the places of CpGs and of genes. "
                "Without both, every gene is predicted from all CpGs"
            )
        if settings["other"]["expression"] and not settings["other"]["beta"]:
            problems.append("expression.other.expression is set but expression.other.beta is not")
        if settings["taxonomy"] and not settings["positions"]:
            problems.append(
                "expression.taxonomy needs expression.positions and expression.genes: taxa are compared in a window"
            )
        lacking = [name for name in settings["window_models"] if name not in settings["models"]]
        if lacking:
            problems.append(f"expression.window_models names {', '.join(lacking)}, not among expression.models")
        if settings["published"]:
            given["published"] = settings["published"]
        return problems + [problem for key, path in given.items() if (problem := in_braces(f"expression.{key}", path))]

    def given_paths(self) -> dict[str, str]:
        """The user's files by name; `other_beta` and `other_expression` are the other cohort's."""
        found = {key: self.settings[key] for key in GIVEN}
        found |= {f"other_{key}": path for key, path in self.settings["other"].items()}
        return {key: path for key, path in found.items() if path}

    def input_files(self) -> dict[str, str]:
        """What the input step reads. Raises InputError naming the user's files that are not there."""
        if self.simulates:
            return {key: path for key, path in SIMULATED.items() if key not in ("truth", "taxonomy")}
        found = {key: path for key, path in self.given_paths().items() if key != "taxonomy"}
        return self._there(found)

    def taxonomy_file(self) -> dict[str, str]:
        """The taxonomy of the CpGs, if there is one."""
        if self.simulates:
            return {"taxonomy": SIMULATED["taxonomy"]}
        return self._there({"taxonomy": self.settings["taxonomy"]})

    def _there(self, found: dict[str, str]) -> dict[str, str]:
        problems = [
            f"expression.{key.replace('other_', 'other.')}: {path} is not there (looked in {pathlib.Path.cwd()}); "
            "correct it"
            for key, path in found.items()
            if not pathlib.Path(path).is_file() and path not in TAXONOMY
        ]
        if problems:
            raise InputError(problems)
        return found

    def published_file(self) -> dict[str, str]:
        """The published scores, where there are some. Raises InputError where they are not there."""
        return self._there({"published": self.settings["published"]} if self.settings["published"] else {})

    def published_table(self) -> dict[str, str]:
        """The table of own scores beside published ones, where there are some."""
        return {"published": f"{FOLDER}/published.csv"} if self.settings["published"] else {}

    def truth_file(self) -> dict[str, str]:
        """The methylation effects of a simulated cohort's genes."""
        return {"truth": SIMULATED["truth"]} if self.simulates else {}

    @property
    def has_positions(self) -> bool:
        return self.simulates or bool(self.settings["positions"])

    @property
    def has_taxonomy(self) -> bool:
        return self.simulates or bool(self.settings["taxonomy"])

    def windows(self) -> list[str]:
        """Names of the windows, widest first; `all` where nothing has a position."""
        if not self.has_positions:
            return ["all"]
        return [window_name(window) for window in sorted(set(self.settings["windows"]), reverse=True)]

    def pairs(self) -> list[tuple[str, str]]:
        """Model and window of everything to fit: all models in the widest window, some in the others."""
        widest, *others = self.windows()
        pairs = [(model, widest) for model in self.settings["models"]]
        return pairs + [(model, window) for window in others for model in self.settings["window_models"]]

    def fit_files(self) -> list[str]:
        shards = self.settings["shards"]
        return [
            path for model, window in self.pairs() for path in shard_files(f"{FOLDER}/fits/{model}_{window}", shards)
        ]

    def taxa_files(self) -> dict[str, list[str]]:
        """Fits by taxon, where there is a taxonomy."""
        return {"taxa": shard_files(f"{FOLDER}/taxa", self.settings["shards"])} if self.has_taxonomy else {}

    def input_settings(self) -> dict:
        """What checking the input needs to know."""
        keys = (
            "windows",
            "columns",
            "regions",
            "unmatched",
            "duplicates",
            "gene_versions",
            "max_missing_cpg",
            "check_build",
            "folds",
            "person_pattern",
            "state_pattern",
            "train_on",
            "max_genes",
        )
        return {key: self.settings[key] for key in keys}

    def fit_settings(self, wildcards) -> dict:
        """What fitting a model needs to know: how networks are trained is no matter of the others'."""
        found = {"folds": self.settings["folds"]}
        if wildcards.regressor.startswith("DeepMethyGene"):
            found |= {key: self.settings[key] for key in ("recipe", "epochs")} | self.device
        return found

    def taxa_settings(self) -> dict:
        """What fitting by taxon needs to know."""
        return self.settings["by_taxon"] | {"folds": self.settings["folds"], "window": self.windows()[0]}

    def page_settings(self) -> dict:
        """What scores and page need to know."""
        return {
            "folds": self.settings["folds"],
            "recipe": self.settings["recipe"],
            "examples": self.settings["examples"],
            "gene_versions": self.settings["gene_versions"],
        }

    def states(self, wildcards) -> dict[str, list[int]]:
        """Size and time of the user's files: one older than the results is noticed too."""
        found = {} if self.simulates else {key: pathlib.Path(path) for key, path in self.given_paths().items()}
        states = {key: path.stat() for key, path in found.items() if path.is_file() and key != "taxonomy"}
        return {key: [state.st_size, int(state.st_mtime)] for key, state in states.items()}

    def gpus(self, wildcards) -> int:
        """GPUs a fit asks the scheduler for: only the networks use one."""
        return 1 if self.device["device"] == "gpu" and wildcards.regressor.startswith("DeepMethyGene") else 0
