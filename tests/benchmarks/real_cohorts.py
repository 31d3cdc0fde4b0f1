"""The figures on real cohorts by which the taxonomy is measured, in this process and without Snakemake.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/real_cohorts.py [--cohorts NAME …]
        [--skip-lists] [--out F.csv] [--save FOLDER] [--against FOLDER]
    .venv/bin/python tests/benchmarks/real_cohorts.py --draw FOLDER [--cohorts NAME …] [--number 72] [--blind]

Placed: share of the cohort's CpGs that get a taxon. Halves: the samples are halved five times, neighbours in age going
to different halves; how many CpGs get the same taxon from both, of all, of those that both place, and of those that are
clear (placed by both, marked `boundary` by neither). Ages permuted: taxa with a trend or changing spread that are found
where ages are dealt out at random, ten times. Lists: do CpGs known to be this or that get the taxa they should?
`low` and `high` are the least and greatest of the splits or permutations, and of lists Wilson's 95 % interval.

A gap is visible, by a rule that knows nothing of the taxonomy's statistics, where somewhere an interval of 0.06 beta is
next to empty (at most one sample in 200) while intervals of that width below and above it hold 3 % of the samples each.
Where 6.5 % of all samples are on either side of it, both parts are bands and not outliers by anyone's words. The sexes
visibly differ where their medians are 0.05 and 2.2 times the spread within sexes (1.4826 × median absolute deviation)
apart.

`--save` writes each cohort's taxonomy, `--against` compares with such a folder of an earlier version. `--draw` makes
contact sheets of random CpGs and no figures: each CpG at full scale and, beside it on grey, zoomed to where 96 %
of its values lie; with `--blind` only key.csv tells the taxa.
"""

import argparse
import dataclasses
import pathlib
import sys
import time

import numpy as np
import pandas as pd
from benchmarking import RULES, SHARED
from cpgtaxa.names import TAXA, UNCLASSIFIED
from cpgtaxa.report.tables import wilson
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa

DATA = SHARED / "methylation"

TREND = ("LinAgeHomo", "LinAgeHet", "TriAge", "BiAge")
CHANGING = ("LinAgeHet", "NonAgeHet")
BANDS = ("TriAge", "TriNonAge", "BiAge", "BiNonAge")
FLAT = ("UniStable", "UniUnstable", "Outlier")

SPLITS = range(1, 6)
PERMUTATIONS = range(1, 11)
LARGE = 450
"""Samples from which a cohort counts as large: what is asserted of permuted ages, and which lists are looked at."""

PERMUTED = "ages permuted: "
PERMUTED_TARGETS = {"trend": (0.002, 0.002), "changing spread": (0.003, 0.007)}
"""At most so many CpGs, in large cohorts and in others."""

SNP_GAP = "SNP → Bi/Tri: visible gap"
LOW_VARIANCE = "low variance → UniS/UniU/Outlier"
EWAS = "EWAS of age, |r| ≥ 0.4 → taxon with age"
LIST_TARGETS = {SNP_GAP: 0.85, LOW_VARIANCE: 0.90, EWAS: 0.98}
"""Lists of which single cohorts have few CpGs: the target is of all cohorts together."""

GAP, GAP_EMPTY, GAP_SIDE, BAND_SIDE = 0.06, 0.005, 0.03, 0.065
SEX_DIFFERENCE, SEX_DISTANCE = 0.05, 2.2
WITH_AGE, NOT_WITH_AGE = 0.4, 0.3


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a cohort lies and what is expected of it: placed, the same in both halves (of all), the same if clear.

    sex: column and value of women (None: unknown). only: the values of a column that are taken; adults: 18 and older.
    """

    file: str
    sex: tuple | None = None
    only: tuple | None = None
    adults: bool = False
    blood: bool = True
    placed: float = np.nan
    halves: tuple | None = None
    lists_only: bool = False


EIGHT = {"file": "eight_blood_cohorts", "sex": ("sex", "Female")}
SOURCES = {
    "random500": Source("gse42861_random500", ("female", 1), placed=0.95, halves=(0.83, 0.98)),
    "gse40279": Source("gse40279", ("sex", "female"), placed=0.95, halves=(0.72, 0.98)),
    "brain": Source("gse74193_brain", adults=True, blood=False, placed=0.95, halves=(0.80, 0.98)),
    "gse42861": Source("gse42861", ("gender", 2), placed=0.60),
    "GSE111629": Source(**EIGHT, only=("cohort", "GSE111629"), placed=0.90),
    "GSE61496": Source(**EIGHT, only=("cohort", "GSE61496"), placed=0.85),
    "GSE97362": Source(**EIGHT, only=("cohort", "GSE97362"), placed=0.75),
    "gse87571_x": Source("gse87571_x", ("sex", "F"), lists_only=True),
    "sorted_blood": Source("sorted_blood_epic", ("Sex", "F"), lists_only=True),
}


@dataclasses.dataclass
class Cohort:
    """A cohort in memory. beta: (k, n) float32; ages: (n,) years; sex: (n,) "F" and "M", or None where unknown."""

    name: str
    source: Source
    cpgs: np.ndarray
    beta: np.ndarray
    ages: np.ndarray
    sex: np.ndarray | None

    def classify(self, samples=None, ages=None) -> pd.DataFrame:
        """`classify` of all samples or of some, with their ages or others."""
        samples = np.arange(len(self.ages)) if samples is None else samples
        sex = None if self.sex is None else self.sex[samples]
        beta = np.ascontiguousarray(self.beta[:, samples])
        return classify(beta, (self.ages if ages is None else ages)[samples], sex, self.cpgs)


def classify(beta, ages, sex, cpgs) -> pd.DataFrame:
    """The taxonomy of a cohort, as the product makes it: the one place here that calls it.

    beta: (k, n) float32; ages: (n,) float64; sex: (n,) of "F" and "M", or None; cpgs: (k,) names. Returns, in the order
    of `cpgs`, cpg, taxon, boundary (empty where the CpG is clear) and reason.
    """
    sexes = None if sex is None else np.where(sex == "F", 1, 0)
    statistics = compute(beta, ages, sexes)
    statistics.insert(0, "cpg", cpgs)
    return define_taxa(statistics, **RULES)[["cpg", "taxon", "boundary", "reason"]]


def load(name) -> Cohort:
    """A cohort of SOURCES, without samples of unknown age and CpGs missing in more than a fifth of the samples."""
    source = SOURCES[name]
    beta = pd.read_csv(DATA / f"{source.file}_beta.csv.gz", index_col=0)
    sheet = pd.read_csv(DATA / f"{source.file}_samples.csv.gz")
    sheet = sheet.set_index(sheet.columns[0]).rename(columns={"Age": "age"}).loc[beta.columns]
    taken = sheet["age"].notna()
    if source.only:
        taken &= sheet[source.only[0]] == source.only[1]
    if source.adults:
        taken &= sheet["age"] >= 18
    beta, sheet = beta.loc[:, taken.to_numpy()], sheet[taken]
    beta = beta[beta.isna().mean(axis=1) <= 0.2]
    sex = np.where(sheet[source.sex[0]] == source.sex[1], "F", "M") if source.sex else None
    values = np.ascontiguousarray(beta.to_numpy(np.float32))
    return Cohort(name, source, beta.index.to_numpy(object), values, sheet["age"].to_numpy(np.float64), sex)


def halves(ages, seed):
    """Positions of the samples in either half: of two neighbours in age, one goes to each, as a coin has it."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(ages))
    order = order[np.argsort(ages[order], kind="stable")]
    place = np.arange(len(order))
    first = (rng.random(len(order) // 2 + 1) < 0.5)[place // 2] == (place % 2 == 0)
    return np.sort(order[first]), np.sort(order[~first])


def shares(cohort, figure, values, target=np.nan):
    """A row of figures: the mean of several values, with their range."""
    values = np.asarray(values, dtype=float)
    row = {"cohort": cohort.name, "n_cpgs": len(cohort.cpgs), "n_samples": len(cohort.ages), "figure": figure}
    return row | {"value": np.nanmean(values), "low": np.nanmin(values), "high": np.nanmax(values), "target": target}


def placed_and_halves(cohort, table):
    """Rows: what is placed, and what halves of the cohort say of each other."""
    placed = table["taxon"].isin(TAXA)
    yield shares(cohort, "placed", [placed.mean()], cohort.source.placed) | {"low": np.nan, "high": np.nan}
    clear = placed & (table["boundary"] == "")
    yield shares(cohort, "placed and clear", [clear.mean()]) | {"low": np.nan, "high": np.nan}
    if cohort.source.halves is None:
        return
    found = []
    for seed in SPLITS:
        one, two = (cohort.classify(half) for half in halves(cohort.ages, seed))
        both = (one["taxon"].isin(TAXA) & two["taxon"].isin(TAXA)).to_numpy()
        equal = both & (one["taxon"] == two["taxon"]).to_numpy()
        clear = both & ((one["boundary"] == "") & (two["boundary"] == "")).to_numpy()
        ratio = [equal[among].mean() if among.any() else np.nan for among in (both, clear)]
        found.append([equal.mean(), both.mean(), ratio[0], clear.mean(), ratio[1]])
    of_all, of_clear = cohort.source.halves
    targets = {
        "halves: equal, of all": of_all,
        "halves: placed in both, of all": np.nan,
        "halves: equal, of placed in both": np.nan,
        "halves: clear in both, of all": np.nan,
        "halves: equal, of clear in both": of_clear,
    }
    for (figure, target), values in zip(targets.items(), np.transpose(found), strict=True):
        yield shares(cohort, figure, values, target)


def permuted(cohort):
    """Rows: taxa of age where ages are dealt out at random."""
    found = []
    for seed in PERMUTATIONS:
        taxon = cohort.classify(ages=np.random.default_rng(seed).permutation(cohort.ages))["taxon"]
        found.append([taxon.isin(TREND).mean(), taxon.isin(CHANGING).mean()])
    for (figure, targets), values in zip(PERMUTED_TARGETS.items(), np.transpose(found), strict=True):
        yield shares(cohort, PERMUTED + figure, values, targets[len(cohort.ages) < LARGE])


def pooled(rows):
    """Rows of all large cohorts together and of all others, and of lists in all cohorts; a CpG counts as any other."""
    groups = [
        (name, PERMUTED + figure, targets[size], [row for row in rows if (row["n_samples"] < LARGE) == bool(size)])
        for size, name in enumerate((f"all of {LARGE} and more", f"all below {LARGE}"))
        for figure, targets in PERMUTED_TARGETS.items()
    ]
    groups += [("all", figure, target, rows) for figure, target in LIST_TARGETS.items()]
    for name, figure, target, among in groups:
        mine = [row for row in among if row["figure"] == figure]
        if mine:
            cpgs = np.array([row["n_cpgs"] for row in mine])
            value = np.average([row["value"] for row in mine], weights=cpgs)
            low = high = np.nan
            if not figure.startswith(PERMUTED):
                low, high = wilson(np.rint(value * cpgs.sum()), cpgs.sum())
            row = {"cohort": name, "n_cpgs": cpgs.sum(), "n_samples": sum(row["n_samples"] for row in mine)}
            yield row | {"figure": figure, "value": value, "low": float(low), "high": float(high), "target": target}


def read_list(*names) -> pd.DataFrame:
    """Lists of CpGs by the names of their files, one below the other."""
    return pd.concat([pd.read_csv(DATA / f"lists/{name}.csv.gz") for name in names], ignore_index=True)


def gap_side(values) -> float:
    """Share of the samples on the smaller side of the visible gap that leaves most there; 0 without one."""
    x = np.sort(values[np.isfinite(values)])
    n = len(x)
    # Of the interval that starts just above each value: how many it holds, and how many lie below and above it.
    below = np.arange(1, n + 1)
    end = np.searchsorted(x, x + GAP, side="left")
    hold = np.searchsorted(x, x + GAP, side="right") - np.arange(n)
    most_from = np.maximum.accumulate(hold[::-1])[::-1]
    inside = np.arange(n) - np.searchsorted(x, x - GAP, side="left") + 1
    most_to = np.maximum.accumulate(inside)
    void = (end < n) & (end - below <= GAP_EMPTY * n)
    void &= most_to >= GAP_SIDE * n
    void &= most_from[np.minimum(end, n - 1)] >= GAP_SIDE * n
    return float(np.where(void, np.minimum(below, n - end) / n, 0.0).max())


def sexes_differ(values, sex) -> bool:
    """Whether the sexes visibly differ in a CpG."""
    parts = [values[(sex == s) & np.isfinite(values)] for s in "FM"]
    medians = [np.median(part) for part in parts]
    spreads = [1.4826 * np.median(np.abs(part - median)) for part, median in zip(parts, medians, strict=True)]
    difference = abs(medians[0] - medians[1])
    return bool(difference >= max(SEX_DIFFERENCE, SEX_DISTANCE * np.sqrt(np.mean(np.square(spreads)))))


def of_list(cohort, table, figure, among, taxa, target=np.nan):
    """Rows (one, or none where the list has no CpG here): share of the CpGs `among` that are in one of the taxa."""
    n = int(np.sum(among))
    if n:
        hits = int(table["taxon"].isin(taxa).to_numpy()[among].sum())
        low, high = wilson(hits, n)
        row = {"cohort": cohort.name, "n_cpgs": n, "n_samples": len(cohort.ages), "figure": figure}
        yield row | {"value": hits / n, "low": float(low), "high": float(high), "target": target}


def listed(cohort, table):
    """Rows: CpGs of lists, in this cohort."""
    source, beta, large = cohort.source, cohort.beta, len(cohort.ages) >= LARGE

    def here(cpgs):
        return np.isin(cohort.cpgs.astype(str), np.asarray(cpgs, dtype=str))

    def also(among, test):
        return among & np.array([bool(found) and test(row) for found, row in zip(among, beta, strict=True)])

    def correlation(row):
        known = np.isfinite(row)
        return abs(np.corrcoef(row[known], cohort.ages[known])[0, 1])

    if source.blood and cohort.sex is not None and len(set(cohort.sex)) == 2:
        x = np.ones(len(beta), bool) if cohort.name == "gse87571_x" else here(read_list("xy_probes_450k_glint")["cpg"])
        differ = also(x, lambda row: sexes_differ(row, cohort.sex))
        target = 0.80 if cohort.name == "gse87571_x" else np.nan
        yield from of_list(cohort, table, "X and Y → Bi/Tri: all", x, BANDS, target)
        yield from of_list(cohort, table, "X and Y → Bi/Tri: sexes differ", differ, BANDS, 0.80)
    if len(cohort.ages) >= 100:
        snps = read_list("cpg_snp_450k_umtools", "cpg_snp_epic_umtools").query("maf >= 0.1")
        snp = here(snps["cpg"])
        visible = also(snp, lambda row: gap_side(row) > 0)
        banded = also(snp, lambda row: gap_side(row) >= BAND_SIDE)
        yield from of_list(cohort, table, "SNP → Bi/Tri: any gap or none", snp, BANDS)
        yield from of_list(cohort, table, SNP_GAP, visible, BANDS)
        yield from of_list(cohort, table, "SNP → Bi/Tri: visible gap, 6.5 % on both sides", banded, BANDS)
    if source.blood and large:
        names = ("hypovariable_pantissue_recount2020", "lowvar_blood_recount2020")
        narrow = here(read_list(*names)["cpg"])
        flat = also(narrow, lambda row: correlation(row) < NOT_WITH_AGE)
        yield from of_list(cohort, table, LOW_VARIANCE, narrow, FLAT)
        yield from of_list(cohort, table, f"{LOW_VARIANCE}, |r| < 0.3", flat, FLAT)
        names = ("age_ewas_marttila2015", "age_ewas_li2017", "age_ewas_wang2018")
        ewas = here(read_list(*names)["cpg"])

        with_age = also(ewas, lambda row: correlation(row) >= WITH_AGE)
        yield from of_list(cohort, table, EWAS, with_age, TREND)


def draw(cohort, table, folder, number, seed, blind):
    """Contact sheets of random CpGs, twelve a page: each at full scale, and beside it zoomed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(cohort.cpgs), min(number, len(cohort.cpgs)), replace=False)
    for page in range(0, len(chosen), 12):
        figure, axes = plt.subplots(4, 6, figsize=(16, 11), layout="constrained")
        for axis in axes.flat:
            axis.axis("off")
        for place, cpg in enumerate(chosen[page : page + 12]):
            row, title = table.iloc[cpg], f"{page + place + 1}  {cohort.cpgs[cpg]}"
            values = cohort.beta[cpg]
            ends = np.nanquantile(values, (0.02, 0.98))
            if not blind:
                title += f"  {row['taxon']}" + (f"\nboundary: {row['boundary']}" if row["boundary"] else "")
                reason = str(row["reason"])
                title += f"\n{reason[:55]}{'…' if len(reason) > 55 else ''}"
            for axis, zoomed in zip(axes.flat[2 * place : 2 * place + 2], (False, True), strict=True):
                axis.axis("on")
                axis.plot(
                    cohort.ages, values, "k.", markersize=3 if len(values) >= LARGE else 5, alpha=0.5, markeredgewidth=0
                )
                axis.tick_params(labelsize=7)
                if zoomed:
                    axis.set_facecolor("#f3f3f3")
                    axis.set_ylim(*ends + np.array([-0.3, 0.3]) * max(np.diff(ends)[0], 0.01))
                else:
                    axis.set_ylim(0, 1)
                    axis.set_title(title, fontsize=8, loc="left")
        figure.savefig(folder / f"{cohort.name}_{page // 12 + 1:02d}.png", dpi=100)
        plt.close(figure)
    key = table.iloc[chosen].assign(cohort=cohort.name, number=np.arange(1, len(chosen) + 1))
    return key[["cohort", "number", "cpg", "taxon", "boundary", "reason"]]


def compare(cohort, table, folder):
    """Print what moved since the taxonomy that `--save` left in a folder."""
    path = folder / f"{cohort.name}.csv"
    if not path.exists():
        print(f"\n{cohort.name}: nothing in {folder} to compare with")
        return
    old = pd.read_csv(path, keep_default_na=False).set_index("cpg")
    both = table.set_index("cpg").join(old.add_suffix("_old"), how="inner")
    if both.empty:
        print(f"\n{cohort.name}: no CpG in common with {path}")
        return
    moved = (both["taxon"] != both["taxon_old"]).mean()
    marked = ((both["boundary"] == "") != (both["boundary_old"] == "")).mean()
    print(f"\n{cohort.name}: {moved:.1%} of {len(both)} CpGs moved (rows: before), {marked:.1%} changed their boundary")
    if not moved:
        return
    order = [taxon for taxon in (*TAXA, UNCLASSIFIED) if taxon in set(both["taxon"]) | set(both["taxon_old"])]
    counts = pd.crosstab(both["taxon_old"], both["taxon"]).reindex(index=order, columns=order, fill_value=0)
    print(counts.rename_axis(index=None, columns=None).replace(0, "·").to_string())


def marked(rows) -> str:
    """The figures as a table to read, with what is met (ok) and what is not (—)."""

    def number(value):
        return "" if pd.isna(value) else f"{value:.4f}"

    lines = []
    for row in rows:
        target, most = row["target"], row["figure"].startswith(PERMUTED)
        met = row["value"] <= target if most else row["value"] >= target
        line = {key: row[key] for key in ("cohort", "n_cpgs", "n_samples", "figure")}
        line |= {key: number(row.get(key, np.nan)) for key in ("value", "low", "high")}
        line["target"] = "" if pd.isna(target) else f"{'≤' if most else '≥'} {target:.3f}"
        lines.append(line | {"": "" if pd.isna(target) else ("ok" if met else "—")})
    table = pd.DataFrame(lines).astype(str)
    widths = {name: max(map(len, [name, *table[name]])) for name in table}
    left = ("cohort", "figure")
    text = [{name: name for name in table}, *table.to_dict("records")]
    return "\n".join(
        "  ".join(f"{line[n]:<{widths[n]}}" if n in left else f"{line[n]:>{widths[n]}}" for n in table).rstrip()
        for line in text
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", nargs="+", choices=list(SOURCES), default=list(SOURCES), metavar="NAME")
    parser.add_argument("--skip-lists", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--save", type=pathlib.Path, help="folder for each cohort's taxonomy")
    parser.add_argument("--against", type=pathlib.Path, help="folder that --save once filled")
    parser.add_argument("--draw", type=pathlib.Path, help="folder for contact sheets; no figures are computed then")
    parser.add_argument("--number", type=int, default=72, help="CpGs to draw of each cohort")
    parser.add_argument("--seed", type=int, default=1, help="of the CpGs to draw")
    parser.add_argument("--blind", action="store_true")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: these figures need the shared real cohorts")
    started, rows, keys = time.process_time(), [], []
    for name in arguments.cohorts:
        if SOURCES[name].lists_only and arguments.skip_lists:
            continue
        cohort = load(name)
        table = cohort.classify()
        if arguments.draw:
            keys.append(draw(cohort, table, arguments.draw, arguments.number, arguments.seed, arguments.blind))
            continue
        if arguments.save:
            arguments.save.mkdir(parents=True, exist_ok=True)
            table.to_csv(arguments.save / f"{name}.csv", index=False)
        if arguments.against:
            compare(cohort, table, arguments.against)
        if not cohort.source.lists_only:
            rows += [*placed_and_halves(cohort, table), *permuted(cohort)]
        if not arguments.skip_lists:
            rows += listed(cohort, table)
        print(f"{name}: {time.process_time() - started:.0f} s of CPU so far", file=sys.stderr, flush=True)
    if arguments.draw:
        if arguments.blind:
            pd.concat(keys).to_csv(arguments.draw / "key.csv", index=False)
        return
    rows += pooled(rows)
    print(f"\n{marked(rows)}")
    if arguments.out:
        columns = ["cohort", "n_cpgs", "n_samples", "figure", "value", "low", "high", "target"]
        pd.DataFrame(rows, columns=columns).round(5).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
