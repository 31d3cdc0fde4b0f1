"""Taxa by the tests alone, without and with adjusting: simulated cohorts whose truth is known, and real ones.

    .venv/bin/python tests/benchmarks/adjusting.py [--seeds 4 5 6] [--out FILE.csv] [--reference FILE.csv]

Simulated: cell fractions that drift with age are mixed into half of the CpGs of a cohort; they are estimated again from
a reference on other CpGs. `before`, the same CpGs without cell types, is the best that adjusting can do. Real: 37
sorted blood cells, whose types differ in everything, and GSE42861 with disease and sex. `--reference` writes the mean
betas of the six sorted cell types, which config/examples/sorted_cells.yaml asks for.
"""

import argparse
import json
import pathlib
import tempfile

import numpy as np
import pandas as pd
from benchmarking import RULES
from conftest import SHARED, sorted_cells
from cpgtaxa.cohort import Cohort, CohortWriter
from cpgtaxa.files import write_parquet
from cpgtaxa.names import UNCLASSIFIED
from cpgtaxa.simulation import simulate
from cpgtaxa.statistics import adjust
from cpgtaxa.statistics.kernel import compute
from cpgtaxa.targets.cell_fractions.fractions import estimate, read_reference
from cpgtaxa.taxa.labels import define_taxa

AGE = ("LinAgeHomo", "LinAgeHet", "BiAge", "TriAge")


def taxa(values, ages, **scales) -> np.ndarray:
    """Taxon of each CpG by the tests, (n_cpgs,)."""
    table = compute(np.asarray(values, dtype=np.float32), ages, **scales)
    table.insert(0, "cpg", [str(number) for number in range(len(table))])
    return define_taxa(table, **RULES)["taxon"].to_numpy(dtype=object)


def adjusted(folder, cpgs, values, samples, covariates, reference=None):
    """Adjusted betas and the summary, by way of the files as the rules have them."""
    with CohortWriter(folder / "beta.arrow", samples["sample_id"]) as writer:
        writer.append(list(cpgs), np.asarray(values, dtype=np.float32))
    write_parquet(folder / "samples.parquet", samples)
    fractions = None
    if reference is not None:
        reference.to_csv(folder / "reference.csv", index_label="cpg")
        fractions = folder / "fractions.csv"
        found = estimate(Cohort(folder / "beta.arrow"), read_reference(folder / "reference.csv"))
        found.to_csv(fractions, index=False, float_format="%.10g")
    given = {"beta": folder / "beta.arrow", "samples": folder / "samples.parquet", "fractions": fractions}
    out = {"beta": folder / "adjusted.arrow", "cpgs": folder / "cpgs.parquet", "summary": folder / "adjusted.json"}
    adjust.adjust_cohort(given, out, covariates=covariates)
    return Cohort(out["beta"]).read(0, len(values)), json.loads(out["summary"].read_text())


def drifting(seed, n=400, cpgs=3000, markers=300):
    """A cohort with cell types: samples, betas of CpGs and markers, the CpGs without cell types, truth, reference."""
    rng = np.random.default_rng([seed, 77])
    setting = simulate.cohort_setting(seed, n)
    plan = simulate.plan_cohort(seed, cpgs, 0.15)
    drawn = [simulate.draw_cpg(seed, index, taxon, setting) for index, taxon in enumerate(plan)]
    pure = np.round(np.stack([values for _, values in drawn]).astype(np.float64), 5)
    # Granulocytes rise with age at the cost of two kinds of lymphocytes; much of what differs between people does not.
    rise = 0.10 * setting.position[:, None] * np.array([1.0, -0.6, -0.4])
    fractions = np.clip(np.array([0.6, 0.25, 0.15]) + rise + 0.05 * rng.normal(size=(n, 3)), 0.01, None)
    fractions /= fractions.sum(axis=1, keepdims=True)
    apart = np.where(rng.random((cpgs, 1)) < 0.5, 0.25 * rng.normal(size=(cpgs, 3)), 0.0)
    shift = apart @ (fractions - fractions.mean(axis=0)).T
    # As far as there is room: a mixture of betas never leaves 0 to 1, so nothing has to be cut off.
    with np.errstate(invalid="ignore", divide="ignore"):
        room = np.where(shift > 0, 1 - pure, pure) / np.abs(shift)
    mixed = pure + np.minimum(np.nanmin(np.where(shift == 0, 1, room), axis=1, keepdims=True), 1) * shift
    types = rng.beta(0.4, 0.4, (markers, 3))
    noisy = np.clip(types @ fractions.T + 0.02 * rng.normal(size=(markers, n)), 0, 1)
    samples = pd.DataFrame({"sample_id": [f"S{at}" for at in range(n)], "age": setting.ages})
    truth = np.array(["|".join(profile.admissible(setting)) for profile, _ in drawn], dtype=object)
    reference = pd.DataFrame(types, [f"marker{at}" for at in range(markers)], ["Gran", "CD4", "B"])
    return samples, np.vstack([mixed, noisy]), pure, truth, reference


def scores(cohort, what, called, truth) -> dict:
    """Labels and mistakes. truth: admissible taxa, "A|B"."""
    labelled = called != UNCLASSIFIED
    right = np.array([taxon in taxa.split("|") for taxon, taxa in zip(called, truth, strict=True)])
    of_age = np.isin(called, AGE)
    with_age = [[taxon in AGE for taxon in taxa.split("|")] for taxa in truth]
    may, must = (np.array([some(answers) for answers in with_age]) for some in (any, all))
    return {
        "cohort": cohort,
        "betas": what,
        "labelled": labelled.mean(),
        "right": right[labelled].mean(),
        "wrong": int((labelled & ~right).sum()),
        "aged_called": int(of_age.sum()),
        "aged_wrongly": int((of_age & ~may).sum()),
        "aged_missed": int((labelled & ~of_age & must).sum()),
    }


def pairs(cohort, truth, without, found) -> pd.DataFrame:
    """CpGs by admissible taxa ("A|B") and by taxon without and with adjusting."""
    table = (
        pd.DataFrame({"truth": truth, "without": without, "with": found}).value_counts().rename("cpgs").reset_index()
    )
    table.insert(0, "cohort", cohort)
    return table.sort_values(["truth", "without", "with"])


def sorted_reference() -> pd.DataFrame:
    """Mean betas of the six sorted cell types at the 600 CpGs that vary most between them."""
    beta, sheet = sorted_cells()
    means = beta.T.groupby(sheet["cell_type"]).mean().T
    return means.loc[means.var(axis=1).nlargest(600).index.sort_values()].round(5)


def real(folder):
    """The real cohorts: name, CpGs, betas, samples, covariates, reference."""
    beta, sheet = sorted_cells()
    samples = pd.DataFrame({"sample_id": sheet.index, "age": sheet["Age"].astype(float), "sex": sheet["Sex"]})
    samples["cell_type"] = sheet["cell_type"].to_numpy()
    samples = samples.reset_index(drop=True)
    yield "sorted cells, cell_type", beta, samples, ["cell_type"], None
    yield "sorted cells, cell_fractions", beta, samples, ["cell_fractions"], sorted_reference()
    beta = pd.read_csv(SHARED / "methylation/gse42861_beta.csv.gz", index_col=0)
    sheet = pd.read_csv(SHARED / "methylation/gse42861_samples.csv.gz").set_index("sample").loc[beta.columns]
    samples = pd.DataFrame({"sample_id": sheet.index, "age": sheet["age"].to_numpy(dtype=float)})
    samples["sex"], samples["disease"] = sheet["gender"].astype(str).to_numpy(), sheet["disease"].to_numpy()
    yield "GSE42861, disease and sex", beta, samples, ["disease", "sex"], None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6])
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--reference", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.reference:
        sorted_reference().to_csv(arguments.reference, index_label="cpg")
        return
    scored, tables, summaries = [], [], []
    for seed in arguments.seeds:
        samples, mixed, pure, truth, reference = drifting(seed)
        ages, name = samples["age"].to_numpy(), f"simulated, seed {seed}"
        names = [*(f"cg{at}" for at in range(len(pure))), *reference.index]
        with tempfile.TemporaryDirectory() as folder:
            found, summary = adjusted(pathlib.Path(folder), names, mixed, samples, ["cell_fractions"], reference)
            clear, adjust.CLEAR = adjust.CLEAR, np.inf
            plain, _ = adjusted(pathlib.Path(folder), names, mixed, samples, ["cell_fractions"], reference)
            adjust.CLEAR = clear
        without = taxa(mixed[: len(pure)], ages)
        honest = taxa(found[: len(pure)], ages, **summary["statistics"])
        scored += [
            scores(name, "without", without, truth),
            scores(name, "with", honest, truth),
            scores(name, "with, tests unscaled", taxa(found[: len(pure)], ages), truth),
            scores(name, "with, bands no levels", taxa(plain[: len(pure)], ages, **summary["statistics"]), truth),
            scores(name, "before", taxa(pure, ages), truth),
        ]
        tables.append(pairs(name, truth, without, honest))
        summaries.append((name, summary))
    if SHARED.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            for name, beta, samples, covariates, reference in real(folder):
                ages = samples["age"].to_numpy()
                found, summary = adjusted(
                    pathlib.Path(folder), beta.index, beta.to_numpy(), samples, covariates, reference
                )
                without, honest = taxa(beta.to_numpy(), ages), taxa(found, ages, **summary["statistics"])
                tables.append(pairs(name, "", without, honest))
                summaries.append((name, summary))
    table = pd.concat(tables, ignore_index=True)
    print(pd.DataFrame(scored).round(3).to_string(index=False))
    for name, summary in summaries:
        print(
            f"{name}: {summary['terms']} terms took {summary['share_taken']:.1%} of the variance beside age (by chance "
            f"{summary['share_by_chance']:.1%}), age VIF {summary['age_vif']:.2f}, "
            f"{summary['clipped']['values']:,} values clipped"
        )
        if not name.startswith("simulated"):
            part = table[table["cohort"] == name]
            print(part.pivot_table("cpgs", "without", "with", "sum", fill_value=0, margins=True).to_string())
    if arguments.out:
        table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
