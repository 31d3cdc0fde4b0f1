"""The columns of results/patterns.parquet against simulated truth and on real cohorts.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 .venv/bin/python tests/benchmarks/patterns.py [--out F.csv]

Planted shapes: 36 CpGs of one band for each shape and size of change (range over the central 90 % of ages, in standard
deviations of the noise), at 600 and 3,500 samples, and for each shape of the spread (ratio of standard deviations over
the central 90 % of ages); the noise is that of simulated CpGs, with its technical effects,
changing spread, outliers and slight bends. Straight: simulated CpGs of all ten taxa. Planted causes: genotypes in
Hardy–Weinberg proportions (additive and dominant), sexes, plates or chips that lie apart; bands of no cause that is in
the sheet are dealt out at random; of CpGs listed as imprinted 40 to 95 % of the people are in the band near a half.
Real cohorts: those of `real_cohorts.py`. Speed: processor time of one thread for a CpG, and for half an array of
811,870 CpGs as extrapolated, since two cores share it.
"""

import argparse
import dataclasses
import pathlib
import time

import numpy as np
import pandas as pd
import real_cohorts as real
from benchmarking import HERE
from cpgtaxa.names import TAXA
from cpgtaxa.patterns.shape import UNADJUSTED, Scales
from cpgtaxa.patterns.table import Study, drop_chance_curves, patterns
from cpgtaxa.report.tables import wilson
from cpgtaxa.simulation.simulate import cohort_setting, draw_profile, draw_values
from cpgtaxa.statistics.adjust import Model, code_covariates
from cpgtaxa.statistics.age_ewas import benjamini_hochberg
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.taxa.labels import define_taxa

CURVED = ("saturating", "late_onset", "wave", "step")
TRIALS = 36
SIZES = ((1.0, 1.5), (1.5, 2.0), (2.0, 3.0))
RATIOS = {600: (2, 3, 4, 6, 9), 3500: (2, 3)}
"""Of the spreads of planted changes, by samples."""
ARRAY = 811_870


def sheet_of(setting, seed) -> pd.DataFrame:
    """A sheet for a simulated setting: sex, eight plates, chips of twelve, rows of chips."""
    rng, n = np.random.default_rng(seed), setting.n
    place = rng.permutation(n)
    sheet = pd.DataFrame({"sample_id": [f"s{i}" for i in range(n)], "age": setting.ages})
    sheet["sex"] = np.where(setting.sex == 1, "M", "F")
    return sheet.assign(plate=place * 8 // n, chip=[f"c{i // 12}" for i in place], row=place % 12)


def described(values, sheet, scales=UNADJUSTED):
    """Statistics, labels and patterns of CpGs in memory, and the seconds that the last took."""
    study = Study.of(sheet, scales)
    sexes = study.sexes if (study.sexes >= 0).any() else None
    statistics = compute(values, sheet["age"].to_numpy(), sexes, **dataclasses.asdict(scales))
    statistics.insert(0, "cpg", [f"cg{i:08d}" for i in range(len(values))])
    labels = define_taxa(statistics, **real.RULES)
    begin = time.process_time()
    found = patterns(lambda low, high: values[low:high], statistics, study, **real.RULES)
    return labels, found, time.process_time() - begin


def row_of(figure, n_samples, hits, n, target=np.nan) -> dict:
    """A share with Wilson's 95 % interval."""
    low, high = wilson(hits, n) if n else (np.nan, np.nan)
    value = hits / n if n else np.nan
    row = {"figure": figure, "n_samples": n_samples, "n_cpgs": n, "value": value}
    return row | {"low": float(low), "high": float(high), "target": target}


def planted_curve(shape, setting, low, high, rng):
    """A curve (n,) that ranges over 1 between two ages, and its change point."""
    ages = setting.ages
    point = low + (high - low) * rng.uniform(*((0.35, 0.65) if shape == "wave" else (0.25, 0.75)))
    curves = {
        "saturating": np.minimum(ages, point),
        "late_onset": np.maximum(ages, point),
        "step": 1.0 * (ages > point),
    }
    curves["wave"] = (ages - point) ** 2 if rng.random() < 0.5 else np.abs(ages - point)
    curve = curves[shape] / np.ptp(curves[shape][(ages >= low) & (ages <= high)])
    return curve - curve.mean(), point


def quiet_cpg(rng, setting, taxon, widest=0.08):
    """Values (n,) of a CpG of one band without a trend, at 0.5, and its sd."""
    profile = draw_profile(rng, taxon, setting)
    profile.sds, profile.levels = (min(profile.sds[0], widest),), (0.5,)
    return draw_values(rng, profile, setting), profile.sds[0]


def shapes(n, sizes, seed, straight):
    """Rows: planted shapes, their change points, and `straight` CpGs of each taxon."""
    setting, rng = cohort_setting(seed, n), np.random.default_rng([seed, n])
    low, high = np.quantile(setting.ages, [0.05, 0.95])
    for size in sizes:
        values, truth = [], []
        for shape in CURVED:
            for trial in range(TRIALS):
                own, sd = quiet_cpg(rng, setting, "UniUnstable" if trial % 2 else "NonAgeHet")
                curve, point = planted_curve(shape, setting, low, high, rng)
                values.append((own + rng.choice([-1, 1]) * rng.uniform(*size) * sd * curve).astype(np.float32))
                truth.append((shape, point))
        _, found, _ = described(np.array(values), sheet_of(setting, seed))
        truth = pd.DataFrame(truth, columns=["shape", "point"])
        right = found["shape"] == truth["shape"]
        label = f"{size[0]:g} to {size[1]:g} sd"
        large = size == SIZES[-1]
        for shape in CURVED:
            mine = (truth["shape"] == shape).to_numpy()
            yield row_of(f"planted {shape}, {label}", n, right[mine].sum(), mine.sum(), 34 / 36 if large else np.nan)
        near = (found["change_point"] - truth["point"]).abs()[right] <= 5
        yield row_of(f"change point within 5 years, {label}", n, near.sum(), right.sum(), 0.8)
        held = (found["change_point_low"] <= truth["point"]) & (truth["point"] <= found["change_point_high"])
        yield row_of(f"change point in its interval, {label}", n, held[right].sum(), right.sum())
        if large:
            hits = found["spread_shape"].isin(CURVED).sum()
            yield row_of("curved trends of a constant spread, spread called curved", n, hits, len(found), 0.05)
    drawn = [draw_values(rng, draw_profile(rng, taxon, setting), setting) for taxon in TAXA for _ in range(straight)]
    values = np.array(drawn)
    _, found, seconds = described(values, sheet_of(setting, seed))
    curved = found["shape"].isin(CURVED)
    yield row_of("straight or flat, called curved", n, curved.sum(), len(values), 0.05)
    yield row_of("straight or flat, undecided", n, (found["shape"] == "undecided").sum(), len(values))
    hits = found["spread_shape"].isin(CURVED).sum()
    yield row_of("constant or linear spread (all taxa), called curved", n, hits, len(values), 0.05)
    yield from speed("simulated CpGs of all taxa", n, seconds, len(values))


def spreads(n, seed, straight=200):
    """Rows: planted shapes of the spread, and spreads on a line."""
    setting, rng = cohort_setting(seed, n), np.random.default_rng([seed, n, 5])
    low, high = np.quantile(setting.ages, [0.05, 0.95])

    def spread_by(log_ratio):
        own, _ = quiet_cpg(rng, setting, "UniUnstable", widest=0.04)
        return np.clip(0.5 + (own - 0.5) * np.exp(log_ratio), 0.002, 0.998).astype(np.float32)

    for ratio in RATIOS[n]:
        values, truth = [], []
        for shape in CURVED:
            for _ in range(TRIALS):
                curve, point = planted_curve(shape, setting, low, high, rng)
                values.append(spread_by(rng.choice([-1, 1]) * np.log(ratio) * curve))
                truth.append((shape, point))
        _, found, _ = described(np.array(values), sheet_of(setting, seed))
        truth = pd.DataFrame(truth, columns=["shape", "point"])
        right = found["spread_shape"] == truth["shape"]
        for shape in CURVED:
            mine = (truth["shape"] == shape).to_numpy()
            yield row_of(f"planted {shape} of the spread, × {ratio}", n, right[mine].sum(), mine.sum(), 34 / 36)
        point, ends = found["spread_change_point"], found[["spread_change_point_low", "spread_change_point_high"]]
        near = (point - truth["point"]).abs()[right] <= 5
        yield row_of(f"change point of the spread within 5 years, × {ratio}", n, near.sum(), right.sum(), 0.8)
        held = (ends.iloc[:, 0] <= truth["point"]) & (truth["point"] <= ends.iloc[:, 1])
        yield row_of(f"change point of the spread in its interval, × {ratio}", n, held[right].sum(), right.sum())
    x = np.clip((setting.ages - low) / (high - low), -0.3, 1.3)
    lines = {
        "constant": lambda x: 0 * x,
        "log spread linear, × 3": lambda x: np.log(3) * (x - 0.5),
        "spread linear, × 3": lambda x: np.log((1 + 2 * x) / 2),
    }
    for name, line in lines.items():
        values = [spread_by(line((x, 1 - x)[trial % 2])) for trial in range(straight)]
        _, found, _ = described(np.array(values), sheet_of(setting, seed))
        for word, among in (("curved", CURVED), ("undecided", ("undecided",))):
            hits, target = found["spread_shape"].isin(among).sum(), 0.05 if word == "curved" else np.nan
            yield row_of(f"{name}: spread called {word}", n, hits, straight, target)


def speed(what, n, seconds, cpgs):
    """Rows: microseconds for a CpG, and minutes of two cores for an array, extrapolated."""
    row = {"figure": f"µs a CpG: {what}", "n_samples": n, "n_cpgs": cpgs, "value": seconds / cpgs * 1e6, "target": 440}
    yield row
    minutes = seconds / cpgs * ARRAY / 60 / 2
    yield row | {"figure": f"minutes of two cores, {ARRAY:,} CpGs, extrapolated: {what}", "value": minutes, "target": 3}


def causes(n, seed, trials=60):
    """Rows: planted causes of bands, and slopes that differ between the sexes."""
    setting, rng = cohort_setting(seed, n), np.random.default_rng([seed, n, 1])
    sheet, values, truth = sheet_of(setting, seed), [], []
    for cause in ("SNP, additive", "SNP, dominant", "sex", "batch, plates", "batch, chips", "none in the sheet"):
        for _ in range(trials):
            own, sd = quiet_cpg(rng, setting, "UniUnstable", widest=0.05)
            kind, q = cause.partition(",")[0], rng.uniform(0.1, 0.5)
            genotype = rng.binomial(2, q, n)
            apart = rng.random(8 if cause.endswith("plates") else n // 12 + 1) < rng.uniform(0.2, 0.5)
            apart[:2] = True, False
            codes = sheet["plate"] if cause.endswith("plates") else pd.factorize(sheet["chip"])[0]
            band = {"SNP": genotype if cause.endswith("additive") else genotype > 0, "sex": setting.sex}
            band |= {"batch": apart[codes], "none in the sheet": rng.random(n) < rng.uniform(0.1, 0.5)}
            gap = min(max(rng.uniform(4, 8) * sd, 0.08), 0.4 if cause.endswith("additive") else 0.45)
            values.append(np.clip(own + gap * (band[kind] - np.mean(band[kind])), 0.002, 0.998).astype(np.float32))
            truth.append((cause, kind))
    labels, found, _ = described(np.array(values), sheet)
    truth = pd.DataFrame(truth, columns=["cause", "word"])
    banded = labels["taxon"].isin(real.BANDS)
    every = banded & (truth["word"] != "none in the sheet")
    right = found["cause"] == truth["word"]
    yield row_of("planted causes: right, of those called Bi or Tri", n, right[every].sum(), every.sum(), 0.9)
    yield row_of("planted causes: unknown", n, (found["cause"] == "unknown")[every].sum(), every.sum(), 0.15)
    for cause in truth["cause"].unique():
        mine = banded & (truth["cause"] == cause)
        if cause == "none in the sheet":
            yield row_of(
                "bands of no cause in the sheet: called SNP", n, (found["cause"] == "SNP")[mine].sum(), mine.sum()
            )
            continue
        yield row_of(f"planted {cause}: right", n, right[mine].sum(), mine.sum())
    yield from divergence(setting, sheet, rng)


def with_list(found) -> np.ndarray:
    """Causes (k,) of CpGs that are all listed as imprinted."""
    return np.where(found["imprinting_p"].notna(), "imprinting", found["cause"].astype(object))


def imprinting(n, seed, trials=60):
    """Rows: CpGs of a list of imprinted ones, with bands of imprinting and of other causes."""
    setting, rng = cohort_setting(seed, n), np.random.default_rng([seed, n, 2])
    sheet, values, truth = sheet_of(setting, seed), [], []
    for cause in ("half and none", "half and both", "none, half and both", "SNP, additive", "sex", "batch"):
        for _ in range(trials):
            own, _ = quiet_cpg(rng, setting, "UniUnstable", widest=0.04)
            half, low, high = rng.uniform(0.4, 0.56), rng.uniform(0.03, 0.2), rng.uniform(0.82, 0.95)
            levels = {"half and none": (half, low), "half and both": (half, high)}.get(cause, (half, low, high))
            share = rng.uniform(0.4, 0.95)
            band = rng.choice(len(levels), n, p=[share, *[(1 - share) / (len(levels) - 1)] * (len(levels) - 1)])
            if cause == "SNP, additive":
                levels, band = (low, half, high), rng.binomial(2, rng.uniform(0.2, 0.5), n)
            elif cause in ("sex", "batch"):
                levels, band = (half, low), setting.sex if cause == "sex" else sheet["plate"].to_numpy() < 3
            values.append(np.clip(own - 0.5 + np.array(levels)[band.astype(int)], 0.002, 0.998).astype(np.float32))
            truth.append(cause)
    labels, found, _ = described(np.array(values), sheet)
    banded, truth = labels["taxon"].isin(real.BANDS).to_numpy(), np.array(truth)
    called = with_list(found)
    right = 0
    for cause in dict.fromkeys(truth):
        mine = banded & (truth == cause)
        word = cause.partition(",")[0] if cause.partition(",")[0] in ("SNP", "sex", "batch") else "imprinting"
        right += (hits := (called == word)[mine].sum())
        yield row_of(f"listed as imprinted, planted {cause} → {word}", n, hits, mine.sum())
    yield row_of("listed as imprinted, all planted causes: right", n, right, banded.sum(), 0.9)
    unknown = (called == "unknown")[banded].sum()
    yield row_of("listed as imprinted, all planted causes: unknown", n, unknown, banded.sum(), 0.15)


def divergence(setting, sheet, rng, planted=40, others=360):
    """Rows: CpGs in which the change of the sexes differs by one to two sds, among others."""
    values = []
    for number in range(planted + others):
        own, sd = quiet_cpg(rng, setting, ("UniUnstable", "NonAgeHet")[number % 2])
        if number < planted:
            own = own + rng.uniform(1, 2) * sd * setting.position * (setting.sex == 1)
        values.append(own.astype(np.float32))
    _, found, _ = described(np.array(values), sheet)
    called = benjamini_hochberg(found["sex_p"].to_numpy()) <= 0.05
    yield row_of("slopes of the sexes differ by 1 to 2 sd: q ≤ 0.05", setting.n, called[:planted].sum(), planted)
    yield row_of("of CpGs with q ≤ 0.05: slopes do not differ", setting.n, called[planted:].sum(), called.sum(), 0.05)


def of_cohorts():
    """Rows: what real cohorts say."""
    real.SOURCES["brain, all ages"] = real.Source("gse74193_brain", blood=False)
    snps = set(real.read_list("cpg_snp_450k_umtools", "cpg_snp_epic_umtools").query("maf >= 0.1")["cpg"])
    gaps = np.zeros(2, int)
    for name in ("random500", "gse40279", "brain", "brain, all ages", "gse42861", "gse87571_x"):
        cohort = real.load(name)
        n, k = len(cohort.ages), len(cohort.cpgs)
        sheet = pd.DataFrame({"sample_id": [f"s{i}" for i in range(n)], "age": cohort.ages})
        if cohort.sex is not None:
            sheet["sex"] = cohort.sex
        labels, found, seconds = described(cohort.beta, sheet)
        banded = labels["taxon"].isin(real.BANDS).to_numpy()
        if name == "gse87571_x":
            hits = (found["cause"] == "sex")[banded].sum()
            yield row_of("X probes called Bi or Tri → sex", n, hits, banded.sum(), 0.95)
            continue
        for shape in ("none", "linear", *CURVED, "undecided"):
            yield row_of(f"{name}: {shape}", n, (found["shape"] == shape).sum(), k)
        yield row_of(f"{name}: curved", n, found["shape"].isin(CURVED).sum(), k)
        drop_chance_curves(found)
        for word, among in (("linear", ("linear",)), ("curved", CURVED), ("undecided", ("undecided",))):
            yield row_of(f"{name}: spread {word}", n, found["spread_shape"].isin(among).sum(), k)
        imprinted = banded & np.isin(cohort.cpgs.astype(str), real.read_list("imprinted_icr_450k_gimp")["cpg"])
        if imprinted.any():
            called = with_list(found)
            for word in ("imprinting", "SNP"):
                hits = (called[imprinted] == word).sum()
                yield row_of(f"{name}: imprinted CpGs called Bi or Tri → {word}", n, hits, imprinted.sum())
        bent = labels["reason"].str.contains("curved").to_numpy()
        if bent.any():
            reported = found["shape"].isin(CURVED)[bent].sum()
            yield row_of(f"{name}: contradicted as curved → a shape", n, reported, bent.sum())
        if n >= real.LARGE and name != "brain, all ages":
            permuted = np.random.default_rng(1).permutation(n)
            at_random = described(cohort.beta, sheet.assign(age=sheet["age"].to_numpy()[permuted]))[1]
            drop_chance_curves(at_random)
            for word, among in (("curved", CURVED), ("linear", ("linear",))):
                yield row_of(f"{name}, ages permuted: {word}", n, at_random["shape"].isin(among).sum(), k)
                hits, target = at_random["spread_shape"].isin(among).sum(), 0.05 if word == "curved" else np.nan
                yield row_of(f"{name}, ages permuted: spread {word}", n, hits, k, target)
        if k > 1000:
            yield from speed(name, n, seconds, k)
        visible = [cpg in snps and real.gap_side(row) > 0 for cpg, row in zip(cohort.cpgs, cohort.beta, strict=True)]
        visible = banded & np.array(visible)
        gaps += [int((found["cause"] == "SNP")[visible].sum()), int(visible.sum())]
    yield row_of("SNP probes, MAF ≥ 0.1, visible gap, called Bi or Tri → SNP", np.nan, *gaps, 0.85)


def pooled():
    """Rows: eight blood cohorts of children and adults together, the cohort as a covariate."""
    real.SOURCES["eight"] = real.Source(**real.EIGHT)
    cohort = real.load("eight")
    sheet = pd.read_csv(real.DATA / "eight_blood_cohorts_samples.csv.gz")
    sheet = sheet[sheet["age"].notna()].drop(columns="sex").assign(sex=cohort.sex)
    model = Model(cohort.ages, code_covariates(sheet, ["cohort"]))
    values = np.clip(model.adjust(cohort.beta.astype(float))[0], 0, 1).astype(np.float32)
    scales = Scales(model.t_scale, model.curve_scale, model.terms)
    _, found, _ = described(values, sheet.drop(columns="cohort"), scales)
    for shape in ("none", "linear", *CURVED, "undecided"):
        hits = (found["shape"] == shape).sum()
        yield row_of(f"eight blood cohorts, adjusted for cohort: {shape}", len(sheet), hits, len(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "patterns.csv")
    arguments = parser.parse_args()
    compute(np.zeros((1, 40), np.float32), np.arange(40.0))
    begin = time.process_time()
    rows = [
        *shapes(600, SIZES, 1, 100),
        *shapes(3500, SIZES[::2], 2, 40),
        *spreads(600, 1),
        *spreads(3500, 2),
        *causes(600, 3),
        *imprinting(600, 3),
    ]
    if real.DATA.is_dir():
        rows += [*of_cohorts(), *pooled()]
    table = pd.DataFrame(rows)
    table.round(4).to_csv(arguments.out, index=False)
    print(table.round(3).to_string(index=False))
    print(f"{time.process_time() - begin:.0f} s of processor time")


if __name__ == "__main__":
    main()
