"""Taxa of pooled summaries against those of the pooled betas, size and cost of summaries, and whom they give away.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/pool.py [--parts NAME …] [--out F.csv]

Agreement: four parts of GSE40279 (each fourth person of each sex, by age), and ten simulated sites of 300 to 3,000
people, each with a shift of every CpG of its own (sd 0.01). Both ways `adjust` takes the cohort out, and the tests give
taxa; of the CpGs that the betas place, how many get the same taxon from the summaries, on average over draws of
pseudo-people (`low`, `high`: least and greatest). `min_cell` is that of the config. Membership: half of a cohort is
summarised; someone who has a person's betas, age and sex asks whether the person is in it, by the likelihood of the
betas in the three strata nearest in age against that in all of the sex (the bandwidth being the best of several); the
area under the ROC curve, 0.5 for nothing learnt. Scale: CpGs of one shard of a pool of 56 cohorts, 32,000 people,
half of the cohorts on an array with half of the CpGs; the same for 811,870 CpGs is extrapolated.
"""

import argparse
import dataclasses
import pathlib
import resource
import tempfile
import time

import benchmarking  # noqa: F401
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import real_cohorts as real
from cpgtaxa.cohort import Cohort, CohortWriter, read_samples, two_sexes
from cpgtaxa.files import read_json, write_parquet
from cpgtaxa.images.render import render
from cpgtaxa.names import TAXA
from cpgtaxa.simulation.simulate import cohort_setting, plan_cohort
from cpgtaxa.statistics.adjust import adjust_cohort
from cpgtaxa.statistics.kernel import compute_cohort
from cpgtaxa.targets.pool.pooling import pool_cohort
from cpgtaxa.targets.pool.summarise import summarise
from cpgtaxa.targets.pool.summary import KEY, Summary
from cpgtaxa.taxa.labels import define_taxa
from several_cohorts import draw_in_cohorts
from sklearn.metrics import roc_auc_score

SEED = 42
ARRAY = 811_870
SETTINGS = {"years": 1.0, "min_stratum": 10, "min_cell": 1, "sexes": {}, "genome": None}
SITES = np.round(np.geomspace(300, 3000, 10)).astype(int)
SHIFT = 0.01
TARGET = 0.98


@dataclasses.dataclass
class Site:
    """A cohort in memory: names (k,), beta (k, n) float32, ages (n,) years, sex (n,) of F and M, or "" throughout."""

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
        samples["sex"] = samples["sex"].where(samples["sex"] != "", None)
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


def pooled(given: dict[str, str], folder: pathlib.Path, seed: int = SEED) -> dict:
    """The summaries as a cohort; its files."""
    names = ("beta", "samples", "cpgs", "qc", "qc_table")
    out = {name: folder / f"pooled_{name}" for name in names}
    pool_cohort(given, out, seed=seed)
    return out


def agreement(data: str, sites: dict[str, Site], draws: int = 6, cells=(1, 5)):
    """Rows: how far taxa of summaries are those of betas."""
    people = sum(len(site.ages) for site in sites.values())
    base = {"data": data, "cohorts": len(sites), "people": people}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        truth = of_betas(sites, folder)
        for cell in cells:
            given = summaries(sites, folder, min_cell=cell)
            row = base | {"min_cell": cell}
            found = []
            for seed in range(SEED, SEED + draws):
                out = pooled(given, folder, seed)
                found.append(taxa(out["beta"], out["samples"], folder).reindex(truth.index)["taxon"])
            placed = truth["taxon"].isin(TAXA)
            among = {"those placed": placed, "those placed and clear": placed & (truth["boundary"] == "")}
            among |= {taxon: truth["taxon"] == taxon for taxon in TAXA}
            for what, chosen in among.items():
                if chosen.any():
                    equal = [(one[chosen] == truth["taxon"][chosen]).mean() for one in found]
                    target = TARGET if what == "those placed" and cell == 1 else np.nan
                    figure = {"figure": f"same taxon, of {what}", "n_cpgs": chosen.sum(), "value": np.mean(equal)}
                    yield row | figure | {"low": min(equal), "high": max(equal), "target": target}


def sizes(n_cpgs: int = 400):
    """Rows: bytes per CpG of a simulated cohort's summary, the header apart from it, which takes 8 bytes a person."""
    for n in (656, 3500):
        setting, plan = cohort_setting(SEED, n), plan_cohort(SEED, n_cpgs, 0.15)
        beta = np.stack([draw_in_cohorts(SEED, row, plan[row], [setting])[1][0] for row in range(n_cpgs)])
        names = [f"cg{number:08d}" for number in range(n_cpgs)]
        site = Site(names, beta, setting.ages, np.where(setting.sex == 1, "F", "M"))
        for cell in (1, 5):
            with tempfile.TemporaryDirectory() as temporary:
                begin = time.process_time()
                path = pathlib.Path(summaries({"one": site}, pathlib.Path(temporary), min_cell=cell)["one"])
                milliseconds = 1000 * (time.process_time() - begin) / n_cpgs
                header = len(pq.read_metadata(path).metadata[KEY])
                base = {"data": "simulated", "cohorts": 1, "people": n, "min_cell": cell, "n_cpgs": n_cpgs}
                yield base | {
                    "figure": "bytes per CpG",
                    "value": (path.stat().st_size - header) / n_cpgs,
                    "target": 2000,
                }
                yield base | {"figure": "summarise, ms per CpG", "value": milliseconds}


# --- whom a summary gives away ---------------------------------------------------------------------------------------


def stored(path: str) -> tuple:
    """A summary's header, and of its people, stratum by stratum, the stratum's number (n,) and values (k, n)."""
    summary = Summary(path)
    values = np.concatenate([summary.group(number, SEED)[1] for number in range(summary.n_groups)])
    sizes = [len(part) for part in summary.header.ages]
    return summary.header, np.repeat(np.arange(len(sizes)), sizes), values


def likelihood(person: np.ndarray, values: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Log density (k,) of a person's betas (k,) among others' (k, n), by a normal kernel of width (k,)."""
    distance = (values - person[:, None]) / width[:, None]
    return np.log(np.mean(np.exp(-0.5 * distance**2), axis=1) / width + 1e-3)


def membership(cohort: str, cell: int):
    """Rows: how well members of a summarised half are told from the other half, by numbers of CpGs."""
    loaded = real.load(cohort)
    sex = np.full(len(loaded.ages), "") if loaded.sex is None else loaded.sex
    whole = Site([str(name) for name in loaded.cpgs], loaded.beta, loaded.ages, sex)
    order = np.lexsort((whole.ages, whole.sex))
    inside = np.zeros(len(order), dtype=bool)
    inside[order[::2]] = True
    with tempfile.TemporaryDirectory() as temporary:
        given = summaries({"half": whole.part(np.flatnonzero(inside))}, pathlib.Path(temporary), min_cell=cell)
        header, stratum, values = stored(given["half"])
    names = sorted(whole.cpgs)
    beta = whole.beta[[whole.cpgs.index(name) for name in names]].astype(np.float64)
    middle = np.array([np.mean(part) for part in header.ages])
    sex = np.array(header.sex)
    spread = np.nanstd(beta, axis=1)
    random = np.random.default_rng(SEED)
    for n_cpgs in [n for n in (50, 400) if n <= 1.2 * len(names)]:
        some = np.sort(random.permutation(len(names))[:n_cpgs])
        best = 0.5
        for part in (0.03, 0.1, 0.3):
            width = part * spread[some]
            scores = []
            for person in range(beta.shape[1]):
                same = np.flatnonzero(sex == whole.sex[person])
                near = same[np.argsort(np.abs(middle[same] - whole.ages[person]), kind="stable")[:3]]
                others = values[some][:, np.isin(stratum, same)]
                known = np.isfinite(beta[some, person]) & np.isfinite(others).all(axis=1)
                mine, width_here = beta[some[known], person], width[known]
                own = [likelihood(mine, values[some[known]][:, stratum == one], width_here).sum() for one in near]
                scores.append(max(own) - likelihood(mine, others[known], width_here).sum())
            best = max(best, roc_auc_score(inside, scores))
        figure = {"figure": "AUC of membership", "n_cpgs": len(some), "value": best}
        yield {"data": f"{cohort}, half of it", "cohorts": 1, "people": int(inside.sum()), "min_cell": cell} | figure


# --- 56 cohorts ------------------------------------------------------------------------------------------------------


def scale(n_cpgs: int = 512, people: int = 32_000, cohorts: int = 56):
    """Rows: processor seconds and memory of one shard of a large pool, and the same for a whole array."""
    sizes = np.round(np.random.default_rng(SEED).dirichlet(np.full(cohorts, 1.5)) * (people - 100 * cohorts)) + 100
    sizes[0] += people - sizes.sum()
    plan = plan_cohort(SEED, n_cpgs, 0.15)
    base = {"data": "shard of a large pool", "cohorts": cohorts, "people": people, "min_cell": 1}
    times, names = {}, [f"cg{number:08d}" for number in range(n_cpgs)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, given = pathlib.Path(temporary), {}
        for number, n in enumerate(sizes.astype(int)):
            setting = cohort_setting(SEED + number, n)
            beta = np.stack([draw_in_cohorts(SEED, row, plan[row], [setting])[1][0] for row in range(n_cpgs)])
            if number % 2:  # of the smaller array
                beta[::2] = np.nan
            site = Site(names, beta, setting.ages, np.where(setting.sex == 1, "F", "M"))
            begin = time.process_time()
            given |= summaries({f"c{number}": site}, folder)
            times["summarise, all cohorts"] = times.get("summarise, all cohorts", 0) + time.process_time() - begin
        begin = time.process_time()
        out = pooled(given, folder)
        times["pool_cohort"] = time.process_time() - begin
        yield base | {"figure": "pool_cohort, peak MB", "n_cpgs": n_cpgs, "value": peak_mb()}
        adjusted = {name: folder / f"adjusted_{name}" for name in ("beta", "cpgs", "summary")}
        begin = time.process_time()
        what = {"beta": out["beta"], "samples": out["samples"], "fractions": None}
        adjust_cohort(what, adjusted, covariates=["cohort"])
        times["adjust"] = time.process_time() - begin
        yield base | {"figure": "adjust, peak MB", "n_cpgs": n_cpgs, "value": peak_mb()}
        cohort, sheet = Cohort(adjusted["beta"]), read_samples(out["samples"])
        ages, scales = sheet["age"].to_numpy(), read_json(adjusted["summary"])["statistics"]
        scales |= {"sexes": two_sexes(sheet)}
        compute_cohort(cohort, ages, 0, 2, **scales)  # compiles
        render(cohort.read(0, 2), ages)
        begin = time.process_time()
        compute_cohort(cohort, ages, 0, 128, **scales)
        times["compute_statistics"] = (time.process_time() - begin) * n_cpgs / 128
        begin = time.process_time()
        render(cohort.read(0, 64), ages)
        times["images, drawn"] = (time.process_time() - begin) * n_cpgs / 64
        yield base | {"figure": "all steps, peak MB", "n_cpgs": n_cpgs, "value": peak_mb()}
    for step, seconds in times.items():
        each = seconds / n_cpgs
        yield base | {"figure": f"{step}, ms per CpG", "n_cpgs": n_cpgs, "value": 1000 * each}
        hours = {"n_cpgs": ARRAY, "value": each * ARRAY / 3600}
        yield base | {"figure": f"{step}, hours of one core, extrapolated", **hours}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", nargs="*", default=["real", "simulated", "sizes", "membership", "scale"])
    parser.add_argument("--cpgs", type=int, default=300, help="CpGs simulated")
    parser.add_argument("--out", type=pathlib.Path)
    chosen = parser.parse_args()
    rows = []
    if "scale" in chosen.parts:  # first: its memory is that of the process
        rows += scale()
    if "real" in chosen.parts:
        rows += agreement("GSE40279, four parts", parts_of_gse40279())
    if "simulated" in chosen.parts:
        rows += agreement("simulated, ten sites", simulated_sites(chosen.cpgs), draws=2)
    if "sizes" in chosen.parts:
        rows += sizes()
    if "membership" in chosen.parts:
        rows += [row for cohort in ("gse40279", "brain") for cell in (1, 5) for row in membership(cohort, cell)]
    table = pd.DataFrame(rows)
    print(table.to_string())
    if chosen.out:
        table.to_csv(chosen.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
