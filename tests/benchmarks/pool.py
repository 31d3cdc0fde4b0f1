"""Taxa of pooled summaries against those of the pooled betas, size and cost of summaries, and whom they give away.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/pool.py [--parts NAME …] [--out F.csv]

Agreement: four parts of GSE40279 (each fourth person of each sex, by age), and ten simulated sites of 300 to 3,000
people, each with a shift of every CpG of its own (sd 0.01). Both ways the cohort is taken out by `adjust`, and the tests
alone give taxa; of the CpGs that the betas place, how many get the same taxon from the summaries. `min_cell` is that of
the config. Membership: half of a cohort is summarised; someone who has a person's betas, age and sex asks whether the
person is in it, by the likelihood of the betas in the stratum's cells against that in all strata of the sex (the
bandwidth being the best of several); the area under the ROC curve, 0.5 for nothing learnt. Scale: one shard of a pool
of 56 cohorts, 32,000 people in all, and the same for 811,870 CpGs, extrapolated.
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile

import numpy as np
import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/benchmarks")]

import real_cohorts as real  # noqa: E402
from cpgtaxa.cohort import Cohort, CohortWriter, read_samples, two_sexes  # noqa: E402
from cpgtaxa.files import read_json, write_parquet  # noqa: E402
from cpgtaxa.names import TAXA  # noqa: E402
from cpgtaxa.report.tables import wilson  # noqa: E402
from cpgtaxa.simulation.simulate import cohort_setting, draw_in_cohorts, plan_cohort  # noqa: E402
from cpgtaxa.statistics.adjust import adjust_cohort  # noqa: E402
from cpgtaxa.statistics.kernel import compute_cohort  # noqa: E402
from cpgtaxa.targets.pool.pooling import pool_cohort  # noqa: E402
from cpgtaxa.targets.pool.summarise import summarise  # noqa: E402
from cpgtaxa.taxa.labels import define_taxa  # noqa: E402

SEED = 42
ARRAY = 811_870
SETTINGS = {"years": 1.0, "min_stratum": 10, "min_cell": 1, "sexes": {}, "genome": None}
SITES = np.round(np.geomspace(300, 3000, 10)).astype(int)
SHIFT = 0.01
TARGET = 0.98


@dataclasses.dataclass
class Site:
    """A cohort in memory: names (k,), beta (k, n) float32, ages (n,) years, sex (n,) of F and M."""

    cpgs: list[str]
    beta: np.ndarray
    ages: np.ndarray
    sex: np.ndarray

    def write(self, folder: pathlib.Path) -> dict:
        """Its files as the rule `cohort` writes them."""
        ids = [f"s{number}" for number in range(len(self.ages))]
        with CohortWriter(folder / "beta.arrow", ids) as writer:
            writer.append(self.cpgs, self.beta)
        samples = pd.DataFrame({"sample_id": ids, "age": self.ages, "sex": self.sex})
        write_parquet(folder / "samples.parquet", samples)
        return {"beta": folder / "beta.arrow", "samples": folder / "samples.parquet", "adjusted": None}

    def part(self, people) -> "Site":
        return Site(self.cpgs, np.ascontiguousarray(self.beta[:, people]), self.ages[people], self.sex[people])


def parts_of_gse40279() -> dict[str, Site]:
    cohort = real.load("gse40279")
    whole = Site([str(name) for name in cohort.cpgs], cohort.beta, cohort.ages, cohort.sex)
    order = np.lexsort((whole.ages, whole.sex))
    return {f"part{number + 1}": whole.part(np.sort(order[number::4])) for number in range(4)}


def simulated_sites(n_cpgs: int) -> dict[str, Site]:
    settings = [cohort_setting(SEED + number, int(n)) for number, n in enumerate(SITES[::-1])]
    plan = plan_cohort(SEED, n_cpgs, 0.15)
    drawn = [draw_in_cohorts(SEED, index, plan[index], settings)[1] for index in range(n_cpgs)]
    shifts = np.random.default_rng(SEED).normal(0, SHIFT, (len(settings), n_cpgs, 1))
    names = [f"cg{number:08d}" for number in range(n_cpgs)]
    found = {}
    for number, setting in enumerate(settings):
        beta = np.clip(np.stack([values[number] for values in drawn]) + shifts[number], 0, 1).astype(np.float32)
        found[f"site{setting.n}"] = Site(names, beta, setting.ages, np.where(setting.sex == 1, "F", "M"))
    return found


def taxa(beta, samples, folder: pathlib.Path) -> pd.DataFrame:
    """The tests' taxa of a pooled cohort, the cohort taken out; by CpG."""
    out = {name: folder / f"adjusted_{name}" for name in ("beta", "cpgs", "summary")}
    adjust_cohort({"beta": beta, "samples": samples, "fractions": None}, out, covariates=["cohort"])
    cohort, sheet = Cohort(out["beta"]), read_samples(samples)
    scales = read_json(out["summary"])["statistics"] | {"sexes": two_sexes(sheet)}
    return define_taxa(compute_cohort(cohort, sheet["age"].to_numpy(), **scales), **real.RULES).set_index("cpg")


def of_betas(sites: dict[str, Site], folder: pathlib.Path) -> pd.DataFrame:
    """The taxa of the betas themselves, pooled."""
    whole = Site(
        next(iter(sites.values())).cpgs,
        np.concatenate([site.beta for site in sites.values()], axis=1),
        np.concatenate([site.ages for site in sites.values()]),
        np.concatenate([site.sex for site in sites.values()]),
    )
    files = whole.write(folder)
    sheet = read_samples(files["samples"])
    sheet["cohort"] = np.repeat(list(sites), [len(site.ages) for site in sites.values()])
    write_parquet(files["samples"], sheet)
    return taxa(files["beta"], files["samples"], folder)


def summaries(sites: dict[str, Site], folder: pathlib.Path, **settings) -> dict[str, str]:
    """Each site's summary, written; its path by name."""
    found = {}
    for name, site in sites.items():
        place = folder / name
        place.mkdir(exist_ok=True)
        out = {"summary": place / "summary.parquet", "about": place / "about.csv"}
        summarise(site.write(place), out, settings=SETTINGS | settings)
        found[name] = str(out["summary"])
    return found


def pooled(given: dict[str, str], folder: pathlib.Path) -> dict:
    """The summaries as a cohort; its files."""
    names = ("beta", "samples", "cpgs", "qc", "qc_table")
    out = {name: folder / f"pooled_{name}" for name in names}
    pool_cohort(given, out, seed=SEED)
    return out


def agreement(data: str, sites: dict[str, Site], cells=(1, 5)):
    """Rows: how far taxa of summaries are those of betas, and how large the summaries are."""
    people = sum(len(site.ages) for site in sites.values())
    base = {"data": data, "cohorts": len(sites), "people": people}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        truth = of_betas(sites, folder)
        for cell in cells:
            given = summaries(sites, folder, min_cell=cell)
            row = base | {"min_cell": cell}
            sizes = [(len(site.ages), pathlib.Path(given[name]).stat().st_size) for name, site in sites.items()]
            largest = max(sizes)
            out = pooled(given, folder)
            found = taxa(out["beta"], out["samples"], folder).reindex(truth.index)
            for what, among in (
                ("placed", truth["taxon"].isin(TAXA)),
                ("placed and clear", truth["taxon"].isin(TAXA) & (truth["boundary"] == "")),
            ):
                equal = found["taxon"][among] == truth["taxon"][among]
                low, high = wilson(int(equal.sum()), len(equal))
                target = TARGET if what == "placed" and cell == 1 else np.nan
                figure = {"figure": f"same taxon, of those {what}", "n_cpgs": len(equal), "value": equal.mean()}
                yield row | figure | {"low": low, "high": high, "target": target}
            for taxon in TAXA:
                among = truth["taxon"] == taxon
                if among.sum():
                    equal = found["taxon"][among] == taxon
                    yield row | {"figure": f"same taxon, of {taxon}", "n_cpgs": len(equal), "value": equal.mean()}
            figure = f"bytes per CpG, cohort of {largest[0]:,}"
            yield row | {"figure": figure, "n_cpgs": len(truth), "value": largest[1] / len(truth), "target": 2000}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="*", default=["real", "simulated", "membership", "scale"])
    parser.add_argument("--cpgs", type=int, default=300, help="CpGs simulated")
    parser.add_argument("--out", type=pathlib.Path)
    chosen = parser.parse_args()
    rows = []
    if "real" in chosen.parts:
        rows += agreement("GSE40279, four parts", parts_of_gse40279())
    if "simulated" in chosen.parts:
        rows += agreement("simulated, ten sites", simulated_sites(chosen.cpgs))
    table = pd.DataFrame(rows)
    print(table.to_string())
    if chosen.out:
        table.to_csv(chosen.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
