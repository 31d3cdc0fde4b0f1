"""What the rule files ask: which files a round needs and whether there is a next one. Standard library only.

Snakemake's own environment imports this module, so it needs nothing that only the rules' environments hold.
"""

import collections
import pathlib
import re

from cpgtaxa.errors import InputError, refuse
from cpgtaxa.files import check_checksums, read_json, sha256
from cpgtaxa.input.standard_layout import parts_of
from cpgtaxa.plan.paths import (
    CELL_FRACTIONS,
    MODEL_FILES,
    MODELS,
    NETWORK,
    in_braces,
    model_file,
    model_of,
    parts,
    round_file,
    shard_files,
)

REFERENCE = "reference"
"""In place of the path of weights: the shipped network."""
BLOOD = ("blood_450k.csv", "blood_epic.csv")
"""Betas of pure blood cells that ship with the workflow."""
SCHEMA = pathlib.Path(__file__).parents[3] / "workflow/schemas/config.schema.yaml"

INPUTS = (
    "cohort.beta", "cohort.samples", "cohort.index.cpgs", "cohort.index.samples", "cohort.only_cpgs", "cohort.truth",
    "taxa.labels", "training.weights", "training.stats", "adjust.reference", "images.info.training", "images.info.val",
    "images.info.test", "export.positions", "annotation.manifest",
)  # fmt: skip
"""Config keys of files that become inputs of rules."""

R_ENDINGS = (".rds", ".rdata", ".rda")

OTHER_TARGETS = (
    "predict", "benchmark", "power", "cpgs", "expression", "histone", "single_cell", "methylation_age", "cell_types",
    "ecg_age", "compare", "summarise", "enrichment", "scores", "export",
)  # fmt: skip
"""Sections of the config that the main job does not look at, but at `cell_types` where this is to be shown."""

TESTED = 20
"""Simulated images per taxon, at most, on which given weights are tested where nothing is trained."""
SHARDS, LEAST_SHARD = 4, 1000
"""Shards where the config names no number, and CpGs of each at least: a job starts in the time of some hundred CpGs."""
WORTH_TRAINING = 20
"""Undecided CpGs for which another network is trained, at least."""
LEAST_SPAN = 5
"""Years between the ends of a range of ages in which `power` plants trends."""
MOST_EXPLAINED = 100
"""CpGs that one page of the target `explain` takes."""
COHORT_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"
"""Of a pooled cohort: it becomes a category, and part of the pseudo-people's ids."""


def _name(covariate) -> str:
    """A covariate's name: {name: kind} or the name alone."""
    return next(iter(covariate)) if isinstance(covariate, dict) else covariate


def missing(key: str, path) -> str:
    """What to say of a file that the config names under `key` and that is not there, but the remedy; "" where it is."""
    if pathlib.Path(path).is_file():
        return ""
    what = "is a directory, not a file" if pathlib.Path(path).is_dir() else "is not there"
    return f"{key}: {path} {what} (looked in {pathlib.Path.cwd()})"


def results_of(folder, key: str) -> pathlib.Path:
    """The results folder of a run, given that or the working directory that holds it.

    Raises InputError, beginning with `key`, where there is none, or no finished taxonomy in it.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        looked = "" if folder.is_absolute() else f" (looked in {pathlib.Path.cwd()})"
        what = "is a file, not a run's folder" if folder.exists() else f"is not there{looked}"
        raise InputError(f"{key}: {folder} {what}; give the working directory of a finished run, or its results folder")
    places = [folder / "results", folder]
    found = next((place for place in places if (place / "taxonomy.parquet").is_file()), None)
    if found:
        return found
    if any((place / "round_0").is_dir() or (place / "cohort").is_dir() for place in places):
        raise InputError(
            f"{key}: the run in {folder} is not finished, it has no taxonomy.parquet: let it end (snakemake with its "
            "own config, in its folder)"
        )
    raise InputError(
        f"{key}: {folder} holds no results of a run (no results/taxonomy.parquet); give the working directory of a "
        "finished run, or its results folder"
    )


def network_of_run(folder, key: str) -> dict[str, str]:
    """Weights, statistics, card and features of the last round of a finished run, standing elsewhere.

    Raises InputError, beginning with `key`: no run, an unfinished one, this one itself, or files that lack.
    """
    results = results_of(folder, key)
    if results.resolve() == pathlib.Path("results").resolve():
        raise InputError(f"{key}: {folder} is this run itself; give the folder of another run")
    over = [int(path.parent.name.removeprefix("round_")) for path in results.glob("round_*/reassigned.json")]
    if not over:
        raise InputError(f"{key}: the run in {folder} has no finished round (round_0/reassigned.json): let it end")
    last = max(over)
    files = {kind: results / f"round_{last}" / pathlib.Path(model_file(last, kind)).name for kind in NETWORK}
    lacking = [str(path) for path in files.values() if not path.is_file()]
    if lacking:
        raise InputError(
            f"{key}: the network of round {last} of the run in {folder} is not whole, {' and '.join(lacking)} "
            f"{'is' if len(lacking) == 1 else 'are'} not there: let that run end again, or copy the folder again"
        )
    return {kind: str(path) for kind, path in files.items()}


class Plan:
    """The config, asked as questions."""

    def __init__(
        self, config: dict, resources: pathlib.Path = pathlib.Path("resources"), ships=str, stored: bool = False
    ):
        """ships: marks the path of a file that ships with the workflow. stored: the user's files lie in a storage."""
        self.config = config
        self.resources, self.ships, self.stored = resources, ships, stored
        shards = config["statistics"]["shards"]
        self.shards, self.least_shard = (shards, 1) if shards else (SHARDS, LEAST_SHARD)
        self.own_images = config["images"]["info"] is not None
        problems = self._conflicts()
        refuse(problems)

    def _conflicts(self) -> list[str]:
        """What the schema cannot see: keys that do not go together."""
        training, simulation = self.config["training"], self.config["simulation"]
        keys = [*INPUTS, *(f"cohort.filters.{name}" for name in self.config["cohort"]["filters"])]
        keys += [f"annotation.lists.{name}" for name in self.config["annotation"]["lists"]]
        problems = [problem for key in keys if (problem := in_braces(key, self.value(key)))]
        if self.config["annotation"]["lists"] and not self.config["annotation"]["manifest"]:
            problems.append("annotation.lists is set, but annotation.manifest is not: name the array's manifest")
        for one, other in (("weights", "stats"), ("stats", "weights")):
            whole = training["weights"] == REFERENCE or self.other_run
            if training[one] and not training[other] and not whole:
                problems.append(
                    f"training.{one} is set but training.{other} is not; a network needs both, or training.weights the "
                    "folder of another run"
                )
        if training["source"] == "simulated" and simulation["per_taxon"] == 0:
            problems.append("training.source is simulated, but simulation.per_taxon is 0; set it to 200 or more")
        simulate = self.config["simulate_cohort"]
        if simulate and simulate["age_min"] >= simulate["age_max"]:
            problems.append("simulate_cohort.age_min must be below simulate_cohort.age_max")
        problems += self._pool_conflicts() if self.pooled else []
        problems += [
            f"power.ages: {low:g} to {high:g} years: the first must be below the second by 5 years at least"
            for low, high in self.config["power"]["ages"]
            if high - low < LEAST_SPAN
        ]
        if not self.config["power"]["ages"] and not self.config["power"]["cohort"]:
            problems.append("power.ages names no range of ages: give one, [[20, 80]], or set power.cohort to true")
        for name, zone in self.config["taxa"]["thresholds"].items():
            if zone["no"] >= zone["yes"]:
                problems.append(
                    f"taxa.thresholds.{name}: no ({zone['no']:g}) must be below yes ({zone['yes']:g}): between the two "
                    "either answer is right"
                )
        return problems

    def _pool_conflicts(self) -> list[str]:
        """What does not go together with pooled summaries."""
        from cpgtaxa.plan.config import defaults

        problems, summaries = [], self.config["pool"]["summaries"]
        for name, path in summaries.items():
            if not re.fullmatch(COHORT_NAME, str(name)):
                problems.append(
                    f"pool.summaries: {name!r} becomes a cohort's name: use letters, digits, dots, dashes and "
                    "underscores alone, at most 40"
                )
            if problem := in_braces(f"pool.summaries.{name}", path):
                problems.append(problem)
        places: dict = {}
        for name, path in summaries.items():
            places.setdefault(pathlib.Path(path).resolve(), []).append(str(name))
        problems += [
            f"pool.summaries: {' and '.join(names)} are the same file, {path}: its people would count twice; remove one"
            for path, names in places.items()
            if len(names) > 1
        ]
        cohort = self.config["cohort"]
        unsaid = defaults(SCHEMA, "cohort")
        given = [f"cohort.{key}" for key in unsaid if key != "truth" and cohort[key] not in (None, unsaid[key])]
        given += ["simulate_cohort"] if self.config["simulate_cohort"] else []
        if given:
            problems.append(
                f"pool.summaries stands in place of a cohort's matrix and sheet, and {', '.join(given)} would do "
                "nothing: leave out one or the other (who is in a summary, and which CpGs, is settled where it is "
                "written)"
            )
        if self.uses_fractions:
            problems.append(
                "adjust.covariates names cell_fractions, which pseudo-people do not have: adjust for them where the "
                "summaries are written"
            )
        if self.cell_types():
            problems.append(
                "cell_types.show is set, and pseudo-people have no cells: leave it out, and run `snakemake cell_types` "
                "where the people's betas are"
            )
        return problems

    def value(self, key: str):
        """What the config says under a dotted key; None where a section on the way is empty."""
        found = self.config
        for part in key.split("."):
            found = found[part] if found is not None else None
        return found

    @property
    def made_elsewhere(self) -> bool:
        """Whether the user's files cannot be looked at: the workflow makes them, or Snakemake fetches them."""
        return bool(self.config["simulate_cohort"]) or self.stored

    @property
    def simulates(self) -> bool:
        """Whether simulated training images are needed."""
        training = self.config["training"]
        if not self.trains and self.config["simulation"]["per_taxon"] == 0:
            return False
        return not self.own_images and (training["source"] != "statistical" or training["fallback"])

    @property
    def trains(self) -> bool:
        """Whether any network may be trained: not with given weights and a single round."""
        return not self.config["training"]["weights"] or self.config["rounds"]["max"] > 1

    @property
    def may_train_nothing(self) -> bool:
        """Whether the labels decide if any network is trained: with given weights, none is where nothing is open."""
        return self.trains and bool(self.config["training"]["weights"]) and not self.own_images

    def labels_first(self) -> dict[str, str]:
        """The tests' labels as a named input of what depends on whether anything is trained."""
        return {"labels": "results/taxa/statistical.parquet"} if self.may_train_nothing else {}

    def simulation_settings(self, trains: bool | None = None) -> dict:
        """What simulating training images needs to know; where nothing is trained, they only test."""
        settings = self.config["simulation"]
        fewer = {"per_taxon": min(TESTED, settings["per_taxon"]), "boundary": 0}
        return settings if (self.trains if trains is None else trains) else settings | fewer

    @property
    def other_run(self) -> bool:
        """Whether training.weights names another run's folder instead of a file."""
        weights = self.config["training"]["weights"]
        if not weights or weights == REFERENCE:
            return False
        return pathlib.Path(weights).is_dir() or not pathlib.Path(weights).suffix

    def reference(self, kind: str) -> str:
        """Path of a file of the shipped network: weights, stats, card or features."""
        packed = ".gz" if kind == "weights" else ""
        return self.ships(str(self.resources / "reference" / f"{MODELS[0]}_{MODEL_FILES[kind]}{packed}"))

    @property
    def tunes(self) -> bool:
        """Whether round 0 continues from the shipped network instead of random weights."""
        training = self.config["training"]
        if training["initial"] == "auto":
            return training["recipe"] == "fast" and pathlib.Path(self.reference("weights")).is_file()
        return training["initial"] == "reference"

    def statistics_shards(self) -> list[str]:
        return shard_files("results/statistics/shards", self.shards)

    def pattern_shards(self) -> list[str]:
        return shard_files("results/patterns/shards", self.shards)

    def prediction_shards(self, round_number) -> list[str]:
        return shard_files(round_file(round_number, "predictions"), self.shards)

    def simulated(self) -> dict[str, str]:
        """Simulated images and their table, where the config asks for them."""
        if not self.simulates:
            return {}
        return {
            "simulated_images": "results/simulated/images.arrow",
            "simulated_info": "results/simulated/info.parquet",
        }

    def packs(self, round_number) -> list[str]:
        """Packed images that a round's training may need: its own, and those of the rounds before."""
        return [round_file(number, "images.arrow") for number in range(int(round_number) + 1)]

    def placed_before(self, round_number, of: str = "reassigned") -> list[str]:
        """What the rounds before this one placed; of: `calibration_placed` for the calibration CpGs."""
        return [round_file(number, f"{of}.parquet") for number in range(int(round_number))]

    @property
    def controls_error_rate(self) -> bool:
        """Whether rounds control an error rate, in place of a plain threshold."""
        return self.config["rounds"]["confidence"] is None

    def calibration_input(self, wildcards) -> dict[str, str]:
        """Calibration CpGs with their truth and the network's calls, where an error rate is controlled."""
        if not self.controls_error_rate:
            return {}
        return {
            "calibration": round_file(int(wildcards.round), "calibration.parquet"),
            "truth": "results/calibration/truth.parquet",
        }

    def placing_settings(self) -> dict:
        """What placing CpGs needs to know."""
        rounds = {key: self.config["rounds"][key] for key in ("error_rate", "confidence", "unlike", "veto")}
        return rounds | self.rules()

    def calibration_settings(self) -> dict:
        """What simulating calibration CpGs needs to know."""
        by_rules = self.config["taxa"]["labels"] is None
        return {"cpgs": self.config["rounds"]["calibration"], **self.rules(), "by_rules": by_rules}

    def goes_on(self, counts_path) -> bool:
        """Whether a round placed enough of its candidates for another one. InputError for a damaged file."""
        check_checksums([counts_path])
        counts = read_json(counts_path)
        enough = self.config["rounds"]["min_new_share"]
        # Another round learns from what this one placed, and has something to place.
        learnt = counts["placed"] > 0 and counts["placed"] >= enough * counts["candidates"]
        return learnt and counts["undecided"] >= max(WORTH_TRAINING, enough * counts["cpgs"])

    def rounds(self, counts_of) -> range:
        """The rounds of this run: one after the other until one places (almost) nothing or the limit is met.

        counts_of: the file with a round's counts, by the round's number.
        """
        for number in range(self.config["rounds"]["max"]):
            goes_on = self.goes_on(counts_of(number))
            if not goes_on and number + 1 >= self.config["rounds"]["min"]:
                break
        return range(number + 1)

    def rounds_input(self, counts_of) -> dict[str, list[str]]:
        """Everything the rounds leave for taxonomy and report."""
        rounds = self.rounds(counts_of)
        return {
            "predictions": [path for number in rounds for path in self.prediction_shards(number)],
            "reassigned": [round_file(number, "reassigned.parquet") for number in rounds],
            "left": round_file(rounds[-1], "left.parquet"),
            "counts": [round_file(number, "reassigned.json") for number in rounds],
        }

    def report_input(self, counts_of) -> dict[str, list[str]]:
        """The rounds' metrics, logs, cards and test predictions for the report."""
        rounds = self.rounds(counts_of)
        return {
            "counts": [round_file(number, "reassigned.json") for number in rounds],
            "metrics": [round_file(number, "metrics.json") for number in rounds],
            "logs": [model_file(number, "log") for number in rounds],
            "cards": [model_file(number, "card") for number in rounds],
            "tests": [round_file(number, f"{model_of(number)}_predictions.csv") for number in rounds],
        }

    def last_network_input(self, counts_of) -> dict[str, str]:
        """The last round's network."""
        return self.network_input(self.rounds(counts_of)[-1])

    def explained(self) -> list[str]:
        """The CpGs that the target explain is asked for, each once, in the order asked.

        Raises InputError where there are none, or too many for a page.
        """
        asked = self.config["cpgs"] or []
        asked = asked.split(",") if isinstance(asked, str) else asked
        found = list(dict.fromkeys(name.strip() for name in asked if name.strip()))
        if not found:
            raise InputError(
                "cpgs names no CpG to explain: give some on the command line (snakemake explain --cores 2 --configfile "
                "my.yaml --config cpgs=cg123,cg456), or as a list under the key cpgs of your config file"
            )
        if len(found) > MOST_EXPLAINED:
            raise InputError(
                f"cpgs names {len(found)} CpGs, and a page takes at most {MOST_EXPLAINED}: ask for fewer, move "
                "results/explain elsewhere, and ask for the others"
            )
        return found

    def explain_input(self, counts_of) -> dict[str, list[str]]:
        """Every round's predictions and network, for the target explain. Raises InputError as `explained` does."""
        self.explained()
        rounds = self.rounds(counts_of)
        networks = {kind: [model_file(number, kind) for number in rounds] for kind in ("weights", "stats", "card")}
        return networks | {"predictions": [path for number in rounds for path in self.prediction_shards(number)]}

    def explain_settings(self) -> dict:
        """What the target explain needs to know. Raises InputError as `explained` does."""
        return {
            "cpgs": self.explained(),
            **self.rules(),
            "own_labels": self.config["taxa"]["labels"] is not None,
            **{key: self.config["rounds"][key] for key in ("confidence", "error_rate", "veto")},
            "device": self.config["training"]["device"],
        }

    def export_input(self) -> dict[str, str]:
        """The matrix and the table of positions, where the config asks for them. InputError for a table not there."""
        settings = self.config["export"]
        found = ({"beta": self.beta} if settings["beta"] else {}) | self.annotation() | self.cell_types()
        if path := settings["positions"]:
            if problem := missing("export.positions", path):
                raise InputError(f"{problem}; correct it")
            found["positions"] = path
        return found

    def export_files(self) -> dict[str, str]:
        """What the target export makes: tables, AnnData and the script for R; workbook and BED where wanted."""
        settings = self.config["export"]
        found = {
            "anndata": "taxonomy.h5ad",
            "table": "supplementary_table.csv.gz",
            "legend": "supplementary_legend.csv",
            "r": "read_results.R",
        }
        if settings["excel"]:
            found["excel"] = "supplementary_table.xlsx"
        if settings["positions"] or self.config["annotation"]["manifest"]:
            found |= {"bed": "taxonomy.bed", "track": "taxonomy.track.bed.gz", "no_position": "no_position.txt"}
        return {name: f"results/export/{file}" for name, file in found.items()}

    def export_settings(self) -> dict:
        """What the target export needs to know: its columns, and the config that the results rest on."""
        return {
            "columns": self.config["export"]["columns"],
            "one_based": self.config["export"]["one_based"],
            **self.rules(),
            "own_labels": self.config["taxa"]["labels"] is not None,
            "rounds": {key: self.config["rounds"][key] for key in ("max", "error_rate", "confidence")},
            "config": self.report_config(),
        }

    # Summaries of other cohorts, in place of the user's matrix and sheet.
    @property
    def pooled(self) -> bool:
        """Whether the cohort is pooled from summaries."""
        return bool(self.config["pool"]["summaries"])

    def summaries(self) -> dict[str, list[str]]:
        """The summaries to pool. Raises InputError where none is named, and for those that are not there."""
        found = self.config["pool"]["summaries"]
        if not found:
            raise InputError(
                "pool.summaries names no summary: write {name of a cohort: its summary.parquet, …}; `snakemake "
                "summarise` writes a cohort's"
            )
        problems = [
            f"pool.summaries.{name}: {path} is not there (looked in {pathlib.Path.cwd()}); give the file that "
            "`snakemake summarise` wrote"
            for name, path in found.items()
            if not self.stored and not pathlib.Path(path).is_file()
        ]
        refuse(problems)
        return {"summaries": list(found.values())}

    def pool_targets(self, counts_of) -> list[str]:
        """What the target pool makes: the main job's files. Raises InputError as `summaries` does."""
        self.summaries()
        return self.targets(counts_of)

    def people(self) -> dict:
        """No inputs. Raises InputError where there are pseudo-people, whose CpGs do not belong together."""
        if self.pooled:
            raise InputError(
                "this target looks at each person's CpGs together, and pool.summaries gives pseudo-people, whose "
                "CpGs are dealt one by one: run it where the people's betas are"
            )
        return {}

    def cohort_files(self) -> dict[str, str]:
        """The user's files that make the cohort, by their keys in the section `cohort`."""
        cohort = self.config["cohort"]
        found = {key: cohort[key] for key in ("beta", "samples")}
        found |= {f"index.{key}": path for key, path in (cohort["index"] or {}).items() if path}
        found |= {f"filters.{name}": path for name, path in cohort["filters"].items()}
        return found | ({"only_cpgs": cohort["only_cpgs"]} if cohort["only_cpgs"] else {})

    def cohort_input(self) -> dict[str, str | list[str]]:
        """The cohort's files. Raises InputError naming those that are not there."""
        found = self.cohort_files()
        if not self.made_elsewhere:
            what = collections.defaultdict(lambda: "your list of CpGs")
            what |= {
                "beta": "your beta matrix",
                "samples": "your sample sheet",
                "index.samples": "your list of samples",
            }
            problems = [
                f"cohort.{key}: {path} is not there (looked in {pathlib.Path.cwd()}); set cohort.{key} to {what[key]}"
                for key, path in found.items()
                if not pathlib.Path(path).exists()
            ]
            refuse(problems)
            parts = [str(path) for path in parts_of(found["beta"])]
            found["beta"] = parts if len(parts) > 1 else parts[0]
        lists = [path for key, path in found.items() if key not in ("beta", "samples")]
        return {key: found[key] for key in ("beta", "samples")} | ({"lists": lists} if lists else {})

    def weights_input(self) -> dict[str, str]:
        """Given weights and statistics of ResNet18, the shipped ones, or all files of another run's last network.

        Raises InputError naming missing files.
        """
        training = self.config["training"]
        if training["weights"] == REFERENCE:
            return {kind: self.reference(kind) for kind in ("weights", "stats")}
        if self.other_run:
            if (
                training["stats"]
                and pathlib.Path(training["stats"]).resolve() != pathlib.Path(training["weights"]).resolve()
            ):
                raise InputError(
                    f"training.stats: {training['stats']} is set, but training.weights names the run "
                    f"{training['weights']}, whose own statistics are taken: leave out training.stats"
                )
            return network_of_run(training["weights"], "training.weights")
        return self.given({"weights": "training.weights", "stats": "training.stats"})

    def given(self, keys: dict[str, str]) -> dict[str, str]:
        """Files of the user's: names as in `keys`, paths from the config. Raises InputError naming missing ones."""
        found, problems = {}, []
        for name, key in keys.items():
            found[name] = path = self.value(key)
            if not self.made_elsewhere and (problem := missing(key, path)):
                problems.append(f"{problem}; correct {key}")
        refuse(problems)
        return found

    # Adjusted betas: in place of the cohort's own for whatever looks at ageing, where the config names covariates.
    @property
    def adjusts(self) -> bool:
        """Whether betas are adjusted at all."""
        return bool(self.covariates)

    @property
    def covariates(self) -> list:
        """What betas are adjusted for: of pooled cohorts, also the cohort."""
        named, pool = self.config["adjust"]["covariates"], self.config["pool"]
        of_cohort = pool["take_out_cohort"] and len(pool["summaries"]) > 1
        return ["cohort", *named] if of_cohort and not {"cohort"} & {*map(_name, named)} else named

    @property
    def uses_fractions(self) -> bool:
        """Whether cell fractions are among the covariates."""
        return CELL_FRACTIONS in self.config["adjust"]["covariates"]

    @property
    def beta(self) -> str:
        """The matrix that statistics, images and networks look at."""
        return "results/adjusted/beta.arrow" if self.adjusts else "results/cohort/beta.arrow"

    def adjusted(self) -> dict[str, str]:
        """What adjusting did to the tests, as a named input, where betas are adjusted."""
        return {"adjusted": "results/adjusted/adjusted.json"} if self.adjusts else {}

    def annotation(self) -> dict[str, str]:
        """Where CpGs lie, as a named input, where the config names a manifest."""
        return {"annotation": "results/annotation.parquet"} if self.config["annotation"]["manifest"] else {}

    def manifest(self) -> dict[str, str]:
        """The user's manifest. Raises InputError where none is named, or it is not there."""
        if not self.config["annotation"]["manifest"]:
            raise InputError("annotation.manifest is not set: name the array's manifest (a CSV of Illumina's)")
        lists = self.config["annotation"]["lists"]
        found = self.given({"manifest": "annotation.manifest"} | {name: f"annotation.lists.{name}" for name in lists})
        return {"manifest": found["manifest"]} | ({"lists": [found[name] for name in lists]} if lists else {})

    def fits(self) -> dict[str, str]:
        """Each CpG's slope on age beside the covariates, as a named input, where betas are adjusted."""
        return {"fits": "results/adjusted/cpgs.parquet"} if self.adjusts else {}

    def fractions(self) -> dict[str, str]:
        """The cell fractions as a named input, where they are a covariate."""
        return {"fractions": "results/cell_fractions.csv"} if self.uses_fractions else {}

    def told_fractions(self) -> dict[str, str]:
        """The cell fractions as a named input of the target cell_types, where it does not take them from the sheet."""
        return {} if self.config["cell_types"]["fractions"] else {"fractions": "results/cell_fractions.csv"}

    def cell_types(self) -> dict[str, str]:
        """Whose cells change, as named inputs, where report, explorer and exports are to show it."""
        files = {"cell_types": "results/cell_types.parquet", "types": "results/cell_types/types.csv"}
        return files if self.config["cell_types"]["show"] else {}

    def reference_table(self) -> dict[str, str | list[str]]:
        """The user's betas of pure cell types, or those of blood that ship. Raises InputError where it is not there."""
        path = self.config["adjust"]["reference"]
        if not path:
            return {"reference": [self.ships(str(self.resources / "cell_types" / name)) for name in BLOOD]}
        if problem := missing("adjust.reference", path):
            raise InputError(f"{problem}; correct it")
        return {"reference": path}

    def cohort_states(self, wildcards) -> dict[str, list[int]]:
        """Size and time of the user's files: one older than the results is noticed too, such as one moved here."""
        if self.config["simulate_cohort"]:
            return {}
        given = self.cohort_files()
        beta, *further = parts_of(given.pop("beta"))
        found = {key: pathlib.Path(path) for key, path in given.items()}
        found |= {"beta": beta} | {path.name: path for path in further}
        states = {key: path.stat() for key, path in found.items() if path.is_file()}
        return {key: [state.st_size, int(state.st_mtime)] for key, state in states.items()}

    def cohort_mem_mb(self) -> int:
        """Memory for checking the cohort: blocks of the matrix, but the whole of what R wrote, unpacked."""
        paths = {pathlib.Path(path) for path in self.cohort_files().values() if path}
        sizes = [path.stat().st_size for path in paths if path.suffix.lower() in R_ENDINGS and path.is_file()]
        return 4000 + 2 * sum(sizes) // 1_000_000

    def cohort_settings(self) -> dict:
        """What the cohort rule needs to know; a change elsewhere in the config does not rerun it."""
        return {key: value for key, value in self.config["cohort"].items() if key not in ("beta", "samples", "truth")}

    def split_settings(self) -> dict:
        """What splitting into training, validation and test needs to know."""
        training = self.config["training"]
        keys = ("source", "min_per_taxon", "fallback", "max_per_taxon", "val_share", "test_share", "max_test_per_taxon")
        return {key: training[key] for key in keys} | {
            "trains": self.trains,
            "may_train_nothing": self.may_train_nothing,
        }

    def enlarge_settings(self) -> dict:
        """What adding a round's CpGs to the images needs to know."""
        return {
            "val_share": self.config["training"]["val_share"],
            "max_added_per_taxon": self.config["rounds"]["max_added_per_taxon"],
        }

    def rules(self) -> dict:
        """What the tests' answers depend on: the criteria's zones and the errors allowed."""
        return {key: self.config["taxa"][key] for key in ("thresholds", "errors")}

    def report_config(self) -> dict:
        """What the report shows of the config: all but what other targets use."""
        apart = [*OTHER_TARGETS, *([] if self.adjusts else ["adjust"]), *([] if self.annotation() else ["annotation"])]
        apart += [] if self.pooled else ["pool"]
        looked_at = ["cell_types"] if self.cell_types() else []
        return {key: value for key, value in self.config.items() if key not in apart or key in looked_at}

    def device_settings(self) -> dict:
        """Where and how networks run."""
        return {key: self.config["training"][key] for key in ("device", "precision")}

    def prediction_settings(self) -> dict:
        """What the prediction of many CpGs needs to know."""
        return self.device_settings() | {
            "engine": self.config["training"]["engine"],
            "predict_labelled": self.config["rounds"]["predict_labelled"],
        }

    def embedding_settings(self) -> dict:
        """What the embedding needs to know."""
        return self.config["embedding"] | self.device_settings()

    def explorer_settings(self) -> dict:
        """What the explorer's page and folder hold; that there is a folder is an output of the rule."""
        own = {"own_labels": self.config["taxa"]["labels"] is not None}
        return own | {key: value for key, value in self.config["explorer"].items() if key != "whole"}

    def training_settings(self, wildcards) -> dict:
        """Recipe and overrides for the round's network."""
        training = self.config["training"]
        epochs = "epochs" if wildcards.model == MODELS[0] else "epochs_mix"
        overrides = {"epochs": training[epochs], "batch": training["batch"], "lr": training["lr"]}
        chosen = {"recipe": training["recipe"], "overrides": overrides, "tuned": self.tunes}
        return self.device_settings() | chosen

    def gpus(self, wildcards) -> int:
        """GPUs a job asks the scheduler for."""
        return 1 if self.config["training"]["device"] == "gpu" else 0

    # The rounds whose images and weights are made, not given.
    @property
    def rendered_rounds(self) -> str:
        return "[1-9][0-9]*" if self.own_images else r"\d+"

    @property
    def trained_rounds(self) -> str:
        return "[1-9][0-9]*" if self.config["training"]["weights"] else r"\d+"

    def parts_now(self, wildcards) -> dict[str, str]:
        """The three CSVs of the wildcards' round."""
        return parts(int(wildcards.round))

    def parts_before(self, wildcards) -> dict[str, str]:
        """The three CSVs of the round before."""
        return parts(int(wildcards.round) - 1)

    def placed_last(self, wildcards) -> str:
        """What the round before placed."""
        return round_file(int(wildcards.round) - 1, "reassigned.parquet")

    def training_input(self, wildcards) -> dict:
        """Images by part, packed planes, boundary CpGs, and the last round's weights to start from."""
        number = int(wildcards.round)
        found = parts(number) | self.simulated() | {"packs": self.packs(number)}
        if number > 0:
            found["previous"] = model_file(number - 1, "weights")
        elif self.tunes:
            found["previous"] = self.reference("weights")
        return found

    def test_input(self, wildcards) -> dict:
        """The round's network and its test images."""
        number = int(wildcards.round)
        packs = self.packs(number) + list(self.simulated().values())[:1]
        return self.network_input(number) | {"test": parts(number)["test"], "packs": packs}

    def power_input(self) -> dict[str, str]:
        """The shipped network, and this run's own ages, where the target power is to look at them."""
        settings = self.config["power"]
        found = {kind: self.reference(kind) for kind in ("weights", "stats", "card")} if settings["network"] else {}
        return found | ({"samples": "results/cohort/samples.parquet"} if settings["cohort"] else {})

    def reference_input(self) -> dict:
        """Round 0's network, log and test images, from which the network to ship is made."""
        found = {"log": model_file(0, "log"), "test": parts(0)["test"], "training": parts(0)["training"]}
        return self.network_input(0) | found | {"packs": self.packs(0) + list(self.simulated().values())[:1]}

    def network_input(self, round_number) -> dict[str, str]:
        """Weights, normalisation statistics, card and features of a round's network."""
        return {kind: model_file(round_number, kind) for kind in NETWORK}

    def network_now(self, wildcards) -> dict[str, str]:
        """The network of the wildcards' round."""
        return self.network_input(int(wildcards.round))

    def evaluation_input(self, wildcards) -> dict[str, str]:
        """Test predictions, training log and card of a round."""
        number = int(wildcards.round)
        return {
            "predictions": round_file(number, f"{model_of(number)}_predictions.csv"),
            "log": model_file(number, "log"),
            "card": model_file(number, "card"),
        }

    def prediction_input(self, wildcards) -> dict:
        """The round's network, and what earlier rounds placed."""
        number = int(wildcards.round)
        return self.network_input(number) | {"placed": self.placed_before(number)}

    def predict_settings(self) -> dict:
        """What the target predict_images needs to know; `reference` stands for the shipped network."""
        predict = dict(self.config["predict"])
        if predict["weights"] == REFERENCE:
            predict["weights"] = str(self.reference("weights"))
            predict["stats"] = predict["stats"] or str(self.reference("stats"))
        return predict | self.device_settings()

    def predict_digests(self, wildcards) -> dict[str, str]:
        """Digests of the files the target predict_images reads; a missing one is reported by its script."""
        predict = self.predict_settings()
        files = {key: pathlib.Path(predict[key] or "") for key in ("images", "weights", "stats")}
        return {key: sha256(path) for key, path in files.items() if path.is_file()}

    def targets(self, counts_of) -> list[str]:
        """What `snakemake` makes by default: taxonomy, report, and the published files of every round."""
        found = [
            f"results/{name}" for name in ("taxonomy.parquet", "taxonomy.csv.gz", "unclassified.parquet", "report.html")
        ]
        found += [
            f"results/{name}" for name in ("age_ewas.csv.gz", "patterns.parquet", "patterns.csv.gz", "explorer.html")
        ]
        if self.cell_types():
            found += [
                f"results/{name}" for name in ("cell_types.parquet", "cell_types.csv.gz", "cell_types/report.html")
            ]
        found.append("results/cohort/qc.csv")
        found += [f"results/embedding/{name}.csv" for name in ("map", "separability", "clusters")]
        for number in self.rounds(counts_of):
            found += [*self.network_input(number).values(), *parts(number).values(), model_file(number, "log")]
            found += [round_file(number, name) for name in ("metrics.json", "reassigned.parquet")]
            found.append(round_file(number, f"{model_of(number)}_predictions.csv"))
        return found

    def optional(self, section: str, key: str) -> dict[str, str]:
        """The config key of a file as a named input, if it is set."""
        return {key: f"{section}.{key}"} if self.config[section][key] else {}
