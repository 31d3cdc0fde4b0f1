"""What the rule file of the targets `enrichment` and `scores` asks. Standard library only, as `cpgtaxa.plan.main`."""

import pathlib

from cpgtaxa.errors import refuse
from cpgtaxa.plan.main import missing

SHIPPED = "shipped"
"""In place of a list's path: the list of that name in resources/clocks."""
TAXON = "taxon"
"""In place of a list's path: the CpGs of the taxon of that name."""
COHORT = {
    "beta": "results/cohort/beta.arrow",
    "samples": "results/cohort/samples.parquet",
    "patterns": "results/patterns.parquet",
}
"""What the anatomy of clocks looks at, where taxonomy and statistics are those of this run."""
TAXONOMY, STATISTICS = "results/taxonomy.parquet", "results/statistics/statistics.parquet"
MADE = "results/"
"""Below this folder the workflow makes files itself; Snakemake reports those that nothing makes."""


class BiologyPlan:
    """The config's sections `enrichment` and `scores`, asked as questions."""

    def __init__(self, config: dict, resources: pathlib.Path, ships=str):
        """ships: marks the path of a file that ships with the workflow."""
        self.enrichment, self.scores = config["enrichment"], config["scores"]
        self.seed = config["seed"]
        self.folder, self.ships = pathlib.Path(resources) / "clocks", ships

    def shipped(self) -> dict[str, str]:
        """The lists that ship with the workflow, by name."""
        return {path.stem: self.ships(str(path)) for path in sorted(self.folder.glob("*.csv"))}

    def _lists(self, section: str, given: dict, problems: list[str]) -> dict[str, str]:
        """Paths of the lists by name, without those that are taken away by null."""
        shipped, found = self.shipped(), {}
        for name, path in given.items():
            if path == SHIPPED and name not in shipped:
                problems.append(
                    f"{section}.{name}: no list of that name ships with the workflow; there are {', '.join(shipped)}"
                )
            elif path and path != TAXON:
                found[name] = shipped[name] if path == SHIPPED else path
                if path != SHIPPED:
                    _look(found[name], f"{section}.{name}", problems)
        return found

    def sets(self) -> dict[str, str]:
        """The lists of the target enrichment by name: those of the config, or all that ship."""
        given = self.enrichment["sets"]
        return self._lists("enrichment.sets", self.shipped() if given is None else given, [])

    def enrichment_input(self) -> dict:
        """Taxonomy, lists, and context and statistics as there are. Raises InputError naming all missing files."""
        problems, settings = [], self.enrichment
        given = settings["sets"]
        lists = self._lists("enrichment.sets", self.shipped() if given is None else given, problems)
        found = {"taxonomy": settings["taxonomy"], "lists": list(lists.values())}
        _look(settings["taxonomy"], "enrichment.taxonomy", problems)
        if settings["context"]:
            found["context"] = settings["context"]
            _look(settings["context"], "enrichment.context", problems)
        statistics = settings["statistics"]
        if statistics == "auto":
            statistics = STATISTICS if settings["taxonomy"] == TAXONOMY else None
        if statistics:
            found["statistics"] = statistics
            _look(statistics, "enrichment.statistics", problems)
        if statistics == STATISTICS:
            found |= COHORT
        if not lists and not settings["context"]:
            problems.append("enrichment: there are neither sets nor a context: name some, or set sets to null")
        refuse(problems)
        return found

    def enrichment_settings(self) -> dict:
        """What the target enrichment needs to know."""
        keys = ("background", "context_columns")
        return {key: self.enrichment[key] for key in keys} | {"names": list(self.sets()), "seed": self.seed}

    def _score_lists(self, problems: list[str]) -> dict[str, dict[str, str]]:
        return {
            kind: self._lists(f"scores.{kind}", self.scores[kind] or {}, problems) for kind in ("noise", "signature")
        }

    def noise_taxa(self) -> list[str]:
        """Taxa whose CpGs have a noise score."""
        return [name for name, path in (self.scores["noise"] or {}).items() if path == TAXON]

    def scores_input(self) -> dict:
        """Lists, and taxonomy, cell fractions and reference as there are. Raises InputError naming missing files."""
        problems = []
        lists = self._score_lists(problems)
        found = {kind: list(paths.values()) for kind, paths in lists.items()}
        keys = [key for key in ("cell_fractions", "reference") if self.scores[key]]
        for name, path in (self.scores["signature"] or {}).items():
            if path == TAXON:
                problems.append(f"scores.signature.{name}: a taxon has no weights: give a file cpg, weight")
        if self.noise_taxa():
            keys.append("taxonomy")
        for key in keys:
            found[key] = self.scores[key]
            _look(self.scores[key], f"scores.{key}", problems)
        if not any(lists.values()) and not self.noise_taxa():
            problems.append("scores: there is neither a noise nor a signature score: name a taxon or a list")
        refuse(problems)
        return found

    def scores_settings(self) -> dict:
        """What the target scores needs to know."""
        names = {kind: list(paths) for kind, paths in self._score_lists([]).items()}
        return {"min_cpgs": self.scores["min_cpgs"], "names": names, "taxa": self.noise_taxa()}


def _look(path: str, key: str, problems: list[str]) -> None:
    if not path.startswith(MADE) and (problem := missing(key, path)):
        problems.append(f"{problem}; correct {key}")
