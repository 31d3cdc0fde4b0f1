"""What the rule file of the target `compare` asks. Standard library only, as `cpgtaxa.plan.main`."""

import pathlib
import re

from cpgtaxa.errors import InputError, gathered, refuse
from cpgtaxa.plan.main import results_of
from cpgtaxa.plan.paths import in_braces

FOLDER = "results/compare"
OWN = pathlib.Path("results")
"""This run's own results, which are made if they are not there."""
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}"
"""A cohort's name: it becomes the end of columns' names."""
MOST = 20
"""Cohorts that a page takes."""
BESIDE = {
    "statistics": "statistics/statistics.parquet",
    "beta": "cohort/beta.arrow",
    "samples": "cohort/samples.parquet",
}
"""What a run's results hold beside its taxonomy."""


class ComparePlan:
    """The config's section `compare`, asked as questions."""

    def __init__(self, config: dict):
        self.config, self.cohorts = config["compare"], config["compare"]["cohorts"]

    def _files(self, name: str, given: str) -> dict[str, str]:
        """The files of a cohort by what they hold; a table of the user's is a taxonomy alone."""
        key, path = f"compare.cohorts.{name}", pathlib.Path(given)
        if not re.fullmatch(NAME, name):
            raise InputError(
                f"{key}: {name!r} becomes the end of columns' names: use letters, digits, dots, dashes and underscores "
                "alone, at most 40"
            )
        if problem := in_braces(key, given):
            raise InputError(problem)
        if path.resolve() in (pathlib.Path.cwd(), OWN.resolve()):
            return {"taxonomy": "results/taxonomy.parquet"} | {kind: f"results/{file}" for kind, file in BESIDE.items()}
        if path.is_dir():
            results = results_of(path, key)
            found = {kind: results / file for kind, file in BESIDE.items()}
            found = {kind: str(file) for kind, file in found.items() if file.is_file()}
            return {"taxonomy": str(results / "taxonomy.parquet")} | found
        if not path.is_file() and path.resolve() != pathlib.Path("results/taxonomy.parquet").resolve():
            raise InputError(
                f"{key}: {given} is not there (looked in {pathlib.Path.cwd()}); give a run's folder, or a table with "
                "the columns cpg and taxon"
            )
        return {"taxonomy": given}

    def files(self) -> dict[str, dict[str, str]]:
        """By cohort its files: `taxonomy`, and where it is a run `statistics`, `beta`, `samples`.

        Raises InputError listing everything that is wrong with the section.
        """
        found, problems = {}, []
        if not 2 <= len(self.cohorts) <= MOST:
            problems.append(
                f"compare.cohorts names {len(self.cohorts)} cohorts, and a comparison takes 2 to {MOST}: write "
                "{name: folder of a run, or its taxonomy.parquet, …}; `.` is this run itself"
            )
        for name, given in self.cohorts.items():
            if files := gathered(problems, self._files, str(name), given):
                found[name] = files
        where = {}
        for name, files in found.items():
            where.setdefault(pathlib.Path(files["taxonomy"]).resolve(), []).append(name)
        problems += [
            f"compare.cohorts: {' and '.join(names)} are the same taxonomy, {path}: it would count twice; remove one"
            for path, names in where.items()
            if len(names) > 1
        ]
        refuse(problems)
        return found

    def inputs(self) -> dict[str, list[str]]:
        """All cohorts' files by kind, as inputs of the rule; see `files`."""
        found = self.files()
        return {kind: [files[kind] for files in found.values() if kind in files] for kind in ("taxonomy", *BESIDE)}

    def settings(self) -> dict:
        """What the rule needs to know beside its files."""
        return {key: value for key, value in self.config.items() if key != "cohorts"}
