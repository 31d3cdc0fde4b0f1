"""The cohort's quality: ages, missing values, and what betas go with besides age, such as batches."""

import logging
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from scipy.stats import beta as beta_distribution

from cpgtaxa.cohort import Cohort
from cpgtaxa.files import read_parquet
from cpgtaxa.input.probes import KINDS
from cpgtaxa.pages.drawing import ACCENT, LINE, MUTED, SECOND
from cpgtaxa.report.words import percent
from cpgtaxa.statistics.adjust import FEW
from cpgtaxa.wording import count, shortened

LEFT_FOR_KIND = {kind: f"not CpGs ({words})" for kind, words in KINDS.items()}
"""Probes that are left out for their kind."""

MOST_VARIABLE = 2000
"""CpGs that the principal components are of: those of the largest standard deviation."""
COMPONENTS = 6
"""Principal components looked at."""
MOST_COLUMNS = 12
"""Columns of the sheet that the page shows: those that explain most."""
MOST_LEVELS = 50
"""Categories of a column, at most: a column of more is an id, or close to one."""
GOES_WITH, MOST_SUGGESTED = 0.1, 8
"""Share of a component from which a column is offered as a covariate, and columns offered at most."""
CERTAINTY = 0.95
"""That none of the shares marked would be as large by chance."""
NAMES_OF_BATCHES = re.compile(
    r"batch|plate|slide|sentrix|chip|array|beadchip|\brow\b|well|\brun\b|cent(er|re)|\bsite\b|\blab|scan|basename", re.I
)
"""Columns whose whole numbers are names, not amounts."""
LONGEST_NAME = 22
"""Letters of a name in a figure."""
MOST_ELEMENTS = 1500
"""Samples drawn one by one in a scatterplot."""
MARKS = "osD^vPX*"


# Facts


def facts_of(qc: dict, samples: pd.DataFrame, cohort: Cohort, adjusted: dict | None = None) -> dict:
    cpgs, people = qc.get("n_cpgs", {}), qc.get("n_samples", {})
    facts = [("Pseudo-people" if "pooled" in qc else "Samples", count(len(samples)))]
    left_out = [
        f"{len(names):,} {why}"
        for key, why in (
            ("only_in_matrix", "without a row in the sheet"),
            ("only_in_sheet", "without a column in the matrix"),
            ("missing", "with too many missing values"),
            ("not_only", "outside the stratum"),
            ("not_first", "of people or families that have another"),
        )
        if (names := qc.get("samples_dropped", {}).get(key))
    ]
    if people:
        text = f"{count(people.get('in_matrix'))} in the matrix, {count(people.get('in_sheet'))} in the sheet"
        facts.append(("Samples read", text))
    if left_out:
        facts.append(("Samples left out", ", ".join(left_out)))
    ages = samples["age"]
    facts.append(("Age", f"{ages.min():g} to {ages.max():g} years, median {ages.median():g}"))
    if chosen := qc.get("columns"):
        shown = [
            f"{name.replace('sample_id', 'ids')} {chosen[name]!r}"
            for name in ("sample_id", "age", "sex")
            if name in chosen
        ]
        facts.append(("Columns of the sheet", f"{', '.join(shown)}; ages in {chosen.get('age_unit', 'years')}"))
    if "sex" in samples:
        sexes = samples["sex"].astype(object).where(samples["sex"].notna(), "not given").astype(str).value_counts()
        facts.append(("Sex", ", ".join(f"{name} {number:,}" for name, number in sorted(sexes.items()))))
    facts.append(("CpGs", count(cohort.n_cpgs)))
    why = {
        "missing": "mostly missing",
        "constant": "constant",
        "replicate": "other probes of CpGs that are used",
        "not_listed": "not among those wanted",
        **LEFT_FOR_KIND,
    }
    dropped = [
        f"{number:,} {why.get(name, f'in the list {name}')}"
        for key, number in cpgs.items()
        if (name := key.removeprefix("dropped_")) != key and number
    ]
    if qc.get("array", {}).get("array", "unknown") != "unknown":
        facts.append(("Array, by its ids", qc["array"]["array"]))
    if qc.get("values", "beta") != "beta":
        facts.append(("Values given", {"m": "M-values", "percent": "percent"}[qc["values"]]))
    if cpgs:
        facts.append(("CpGs read", count(cpgs.get("in"))))
        facts.append(("CpGs left out", ", ".join(dropped) or "none"))
    if "missing_fraction" in qc:
        facts.append(("Missing values", percent(qc["missing_fraction"], 2)))
    warnings = qc.get("warnings", [])
    if adjusted:
        kinds = {"category": "{} categories", "number": "a number", "fractions": "{} cell types"}
        names = []
        for covariate in adjusted["covariates"]:
            number = len(covariate["levels"]) if covariate["levels"] else covariate["terms"]
            names.append(f"{covariate['name']} ({kinds[covariate['kind']].format(number)})")
        facts += [
            ("Betas adjusted for", ", ".join(names)),
            (
                "Taken by that",
                f"{percent(adjusted['share_taken'])} of the variance beside age "
                f"({percent(adjusted['share_by_chance'])} by chance); "
                f"{count(adjusted['clipped']['values'])} values clipped",
            ),
        ]
        warnings = [*warnings, *adjusted["warnings"]]
    return {"facts": facts, "warnings": warnings, "sha256": qc.get("sha256", {})}


# Missing values


def missing_by_sample(cohort: Cohort) -> np.ndarray:
    """Share of CpGs without a value, (samples,) float64, in one pass over the matrix, a block at a time."""
    missing = np.zeros(cohort.n_samples, dtype=np.int64)
    for _, values in cohort.blocks():
        missing += np.isnan(values).sum(axis=0)
        cohort.release()
    return missing / max(cohort.n_cpgs, 1)


def missing_table(by_sample: np.ndarray, cpgs: pd.DataFrame, bins: int = 40) -> pd.DataFrame:
    """Histograms of the share of missing values: of (`samples`, `CpGs`), share_from, share_to, n.

    by_sample: of `missing_by_sample`. cpgs: of the rule `cohort`, n_missing and kept; those left out for other reasons
    than missing values are not in it. The bins are as wide as a round number from none to the largest share.
    """
    chosen = cpgs["kept"] | (cpgs["reason"] == "missing")
    of_cpgs = cpgs.loc[chosen, "n_missing"].to_numpy() / max(len(by_sample), 1)
    rows = []
    for name, shares in (("samples", np.asarray(by_sample)), ("CpGs", of_cpgs)):
        most = max(float(shares.max(initial=0)), 1e-4)
        width = next(
            step * 10.0**power for power in range(-6, 1) for step in (1, 2, 5) if most / (step * 10.0**power) <= bins
        )
        edges = np.arange(int(np.floor(most / width + 1e-9)) + 2) * width
        height = np.histogram(shares, edges)[0]
        rows.append(pd.DataFrame({"of": name, "share_from": edges[:-1], "share_to": edges[1:], "n": height}))
    return pd.concat(rows, ignore_index=True)


def missing_figure(figures, table: pd.DataFrame, limits: dict):
    """table: of `missing_table`. limits: largest share allowed, of samples and of CpGs."""
    figure, panels = plt.subplots(1, 2, figsize=(6.8, 2.3), layout="constrained")
    for axes, (name, found) in zip(panels, table.groupby("of", sort=False), strict=True):
        width = found["share_to"].iat[0] - found["share_from"].iat[0]
        axes.bar(found["share_from"], found["n"], width=0.92 * width, align="edge", color=ACCENT)
        axes.set(xlabel=f"missing values of {'a sample' if name == 'samples' else 'a CpG'}", ylabel=name)
        if found["n"].max() > 50 * max(found["n"][found["n"] > 0].min(), 1):
            axes.set_yscale("symlog", linthresh=1)
            axes.set_ylim(0)
        limit = limits[name]
        if limit <= 1.5 * found["share_to"].max():
            axes.axvline(limit, color=SECOND, lw=1.4, ls="--")
        digits = 0 if width >= 0.01 else 1 if width >= 0.001 else 2
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=digits))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(axis="y")
    return figures.save("missing", figure, table, "Missing values of samples and of CpGs")


# What betas go with


def columns_of(samples: pd.DataFrame) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Columns of the sheet that betas may go with, as numbers or categories (text), and why others are left out.

    Whole numbers of fewer than FEW kinds are categories, and so are those of columns called like a batch. Left out are
    columns that say the same of all samples, and those that are ids: with more than MOST_LEVELS categories, or fewer
    than two samples to a category.
    """
    found, left_out = {}, {}
    for name in samples.columns:
        if name == "sample_id":
            continue
        column, known = samples[name], samples[name].dropna()
        if known.nunique() < 2:
            left_out[name] = "the same in all samples" if len(known) else "empty"
            continue
        number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if number and name != "age":
            whole = np.all(known == np.round(known))
            number = not (whole and (known.nunique() < FEW or NAMES_OF_BATCHES.search(str(name))))
        if number:
            found[name] = column.astype(float)
            continue
        levels = known.nunique()
        if levels > min(MOST_LEVELS, len(known) / 2):
            left_out[name] = f"{levels:,} kinds among {len(known):,} samples"
            continue
        found[name] = column.where(column.notna(), None).map(lambda value: None if value is None else _text(value))
    return found, left_out


def _text(value) -> str:
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _design(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Which samples have a value, (n,) bool, and an orthonormal basis, (known, terms), of what it says of them."""
    known = column.notna().to_numpy()
    values = column[known]
    if pd.api.types.is_numeric_dtype(values):
        known = known & np.isfinite(column.astype(float)).to_numpy()
        x = column[known].to_numpy(dtype=float)[:, None]
    else:
        x = pd.get_dummies(values).to_numpy(dtype=float)
    x = x - x.mean(axis=0)
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    return known, left[:, size > 1e-9 * max(size.max(initial=0), 1e-300) * np.sqrt(len(x))]


def components(cohort: Cohort, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of the most variable CpGs: scores (samples, k), shares of variance (k,), values.

    sd: standard deviation of each CpG, (CpGs,). The values (CpGs chosen, samples) are centred; where one is missing it
    is the CpG's mean. Scores are in units of their standard deviation; their sign makes the largest one positive.
    """
    chosen = np.sort(np.argsort(-np.nan_to_num(sd), kind="stable")[:MOST_VARIABLE])
    values = cohort.take(chosen).astype(np.float64)
    cohort.release()
    empty = np.isnan(values)
    mean = np.where(empty, 0, values).sum(axis=1) / np.maximum((~empty).sum(axis=1), 1)
    values = np.where(empty, 0, values - mean[:, None])
    k = min(COMPONENTS, values.shape[0], values.shape[1] - 1)
    total = float((values**2).sum())
    if k < 1 or total == 0:
        return np.zeros((cohort.n_samples, 0)), np.zeros(0), values
    # Of the smaller of the two Gram matrices: a few thousand rows at most on one side.
    if values.shape[0] >= values.shape[1]:
        size, vectors = np.linalg.eigh(values.T @ values)
        scores = vectors[:, ::-1][:, :k]
    else:
        size, vectors = np.linalg.eigh(values @ values.T)
        scores = values.T @ vectors[:, ::-1][:, :k]
    size = np.clip(size[::-1][:k], 0, None)
    scores = scores - scores.mean(axis=0)
    scores = scores / np.maximum(scores.std(axis=0), 1e-300)
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(k)]
    return scores * np.where(largest < 0, -1.0, 1.0), size / total, values


def explained(columns: dict, scores: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """How much of the components, and of all betas chosen, each column of the sheet explains, by itself.

    columns: of `columns_of`. scores, values: of `components`. Returns column, kind (`number`, or the number of
    categories), n (samples), of (`betas`, `PC1` …), r2, chance (what a column of as many terms that means nothing
    explains on average, terms / (n - 1)), and surely: whether r2 is beyond what chance gives for any of the components
    and columns in CERTAINTY of cohorts (R² of noise is beta-distributed; Bonferroni over the table). Of the betas
    together, no such judgement: CpGs go with each other.
    """
    rows, tests = [], max(len(columns) * scores.shape[1], 1)
    for name, column in columns.items():
        known, basis = _design(column)
        n, terms = int(known.sum()), basis.shape[1]
        if terms < 1 or n - 1 - terms < 1:
            continue
        number = pd.api.types.is_numeric_dtype(column)
        kind = "number" if number else f"{column[known].nunique()} categories"
        there = values[:, known] - values[:, known].mean(axis=1, keepdims=True)
        targets = [("betas", ((there @ basis) ** 2).sum() / max((there**2).sum(), 1e-300))]
        limit = beta_distribution.ppf(1 - (1 - CERTAINTY) / tests, terms / 2, (n - 1 - terms) / 2)
        for index in range(scores.shape[1]):
            y = scores[known, index] - scores[known, index].mean()
            targets.append((f"PC{index + 1}", ((y @ basis) ** 2).sum() / max((y**2).sum(), 1e-300)))
        for of, r2 in targets:
            surely = bool(r2 > limit) if of != "betas" else None
            rows.append((name, kind, n, of, float(r2), terms / (n - 1), surely))
    return pd.DataFrame(rows, columns=["column", "kind", "n", "of", "r2", "chance", "surely"])


def components_figure(figures, samples, scores, shares, columns, shown: list[str]):
    """The first two components, a panel for each of the columns `shown`."""
    panels = min(len(shown), 4)
    figure, grid = plt.subplots(
        (panels + 1) // 2, min(panels, 2), figsize=(3.5 * min(panels, 2), 2.9 * ((panels + 1) // 2)),
        sharex=True, sharey=True, squeeze=False, layout="constrained", dpi=200,
    )  # fmt: skip
    colours = [ACCENT, SECOND, MUTED, *_CATEGORIES]
    for axes, name in zip(grid.flat, shown, strict=False):
        column, known = columns[name], columns[name].notna().to_numpy()
        # Many points as one picture: as elements of their own they would be most of the page.
        style = {"s": 13, "linewidths": 0, "alpha": 0.8, "rasterized": len(samples) > MOST_ELEMENTS}
        if pd.api.types.is_numeric_dtype(column):
            drawn = axes.scatter(*scores[known, :2].T, c=column[known].astype(float), cmap="viridis", **style)
            bar = figure.colorbar(drawn, ax=axes, pad=0.02, aspect=30)
            bar.outline.set_visible(False)
        else:
            kinds = column[known].value_counts()
            kinds = sorted(kinds.index, key=lambda kind: (-kinds[kind], kind))
            for at, kind in enumerate(kinds[:6]):
                chosen = (column == kind).to_numpy()
                axes.scatter(
                    *scores[chosen, :2].T,
                    color=colours[at % len(colours)],
                    marker=MARKS[at],
                    label=shortened(kind, LONGEST_NAME),
                    **style,
                )
            if len(kinds) > 6:
                rest = known & ~column.isin(kinds[:6]).to_numpy()
                axes.scatter(*scores[rest, :2].T, color=LINE, marker=".", label=f"{len(kinds) - 6} others", **style)
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.1, handletextpad=0.2, fontsize=7.5)
        axes.set_title(shortened(name, LONGEST_NAME), fontsize=9)
        axes.grid()
    for axes in list(grid.flat)[panels:]:
        axes.set_axis_off()
    for axes in list(grid.flat)[:panels][-2:]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(f"PC1 ({100 * shares[0]:.1f} % of variance)")
    for axes in grid[:, 0]:
        axes.set_ylabel(f"PC2 ({100 * shares[1]:.1f} %)")
    data = pd.DataFrame(scores, columns=[f"PC{index + 1}" for index in range(scores.shape[1])])
    data.insert(0, "sample_id", samples["sample_id"].to_numpy())
    data = pd.concat([data, pd.DataFrame({name: columns[name].to_numpy() for name in shown})], axis=1)
    return figures.save(
        "components", figure, data, "Principal components of the most variable CpGs, by " + ", ".join(shown)
    )


_CATEGORIES = ("#117733", "#AA4499", "#999933")


def explained_figure(figures, table: pd.DataFrame, shown: list[str]):
    """Share of each component, and of all betas, that each column explains; a tick shows what chance gives."""
    targets = list(dict.fromkeys(table["of"]))
    wide = table.pivot(index="column", columns="of", values="r2").loc[shown, targets]
    chance = table.drop_duplicates("column").set_index("column")["chance"]
    surely = table.pivot(index="column", columns="of", values="surely").loc[shown, targets]
    figure, panels = plt.subplots(
        1, len(targets), figsize=(1.3 + 0.88 * len(targets), 1.1 + 0.3 * len(shown)), sharey=True, sharex=True,
        layout="constrained",
    )  # fmt: skip
    for axes, of in zip(np.atleast_1d(panels), targets, strict=True):
        for row, name in enumerate(shown):
            sure = surely.loc[name, of] is True or surely.loc[name, of] is np.True_
            axes.barh(row, wide.loc[name, of], height=0.62, color=SECOND if sure else ACCENT)
            axes.plot([chance[name]] * 2, [row - 0.42, row + 0.42], color=MUTED, lw=1.4)
        axes.set_title(of, fontsize=8.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", ""])
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    first = np.atleast_1d(panels)[0]
    first.set_yticks(range(len(shown)), [shortened(name, LONGEST_NAME) for name in shown])
    first.invert_yaxis()
    figure.supxlabel("share of the variance explained (R²), 0 to 1", fontsize=9)
    return figures.save("explained", figure, table, "What the columns of the sheet explain of the betas")


def suggestion(table: pd.DataFrame, shares: np.ndarray, done: list[str]) -> dict:
    """What the components go with, and the line of the config that takes it from the betas.

    table: of `explained`. shares: of variance, of each component. done: covariates that the betas are adjusted for.
    Returns goes_with (component, its share of variance, column, share of the component explained), the strongest
    column of each component first met, and adjust_line; columns that explain less than GOES_WITH of a component, or no
    more than chance, are left out, as is age.
    """
    found = table[(table["of"] != "betas") & table["surely"].eq(True) & (table["r2"] >= GOES_WITH)]
    found = found[(found["column"] != "age") & ~found["column"].isin(done)]
    found = found.sort_values(["of", "r2"], ascending=[True, False], kind="stable").drop_duplicates("column")
    found = found.head(MOST_SUGGESTED)
    rows = [
        {
            "component": row.of,
            "variance": percent(shares[int(row.of.removeprefix("PC")) - 1]),
            "column": row.column,
            "r2": percent(row.r2, 0),
        }
        for row in found.itertuples()
    ]
    names = [*done, *found["column"].astype(str)]
    line = yaml.safe_dump({"adjust": {"covariates": names}}, default_flow_style=True, width=10_000, allow_unicode=True)
    return {"goes_with": rows, "adjust_line": line.strip().removeprefix("{").removesuffix("}") if rows else ""}


def cohort_page(inputs, figures, samples, cohort, qc, config, adjusted=None) -> dict:
    """What the page shows of the cohort: facts, ages, missing values, and what betas go with.

    inputs: attributes statistics and cpgs (of the rule `cohort`). qc, adjusted: JSON of the rules `cohort` and
    `adjust`.
    """
    page = facts_of(qc, samples, cohort, adjusted)
    page["ages"] = ages_figure(figures, samples)
    page["pooled"] = [_pooled_row(one) for one in qc.get("pooled", [])]
    if page["pooled"]:  # of pseudo-people, nothing that looks at several CpGs of a sample means anything
        return page | {"goes_with": [], "components": None, "left_out": {}}
    by_sample = missing_by_sample(cohort)
    cpgs = read_parquet(inputs.cpgs, columns=["n_missing", "kept", "reason"])
    table = missing_table(by_sample, cpgs)
    settings = config["cohort"]
    limits = {"samples": settings.get("max_missing_sample", 0.2), "CpGs": settings.get("max_missing_cpg", 0.2)}
    nothing = not (by_sample > 0).any() and not (cpgs["n_missing"] > 0).any()
    page["missing"] = None if nothing else missing_figure(figures, table, limits)
    worst = int(by_sample.argmax())
    page["missing_words"] = {
        "samples_with": count((by_sample > 0).sum()),
        "worst": samples["sample_id"].iat[worst],
        "worst_share": percent(by_sample[worst], 2),
        "none": nothing,
        "cpgs_with": count((cpgs["n_missing"] > 0).sum()),
        "limits": {name: percent(limit, 0) for name, limit in limits.items()},
    }
    sd = read_parquet(inputs.statistics, columns=["sd"])["sd"].to_numpy()
    scores, shares, values = components(cohort, sd)
    columns, left_out = columns_of(samples)
    batches = [name for name in columns if name not in ("age", "sex")]
    page |= {"batches": batches, "left_out": left_out, "components": None, "explained": None, "explained_rows": []}
    page |= {"goes_with": [], "adjust_line": "", "adjusted": bool(adjusted)}
    all_of_them = len(values) == cohort.n_cpgs
    page["variable"] = f"{count(len(values))} CpGs" if all_of_them else f"{count(len(values))} CpGs that vary most"
    if scores.shape[1] < 2 or not columns:
        return page
    table = explained(columns, scores, values)
    order = table[table["of"] == "betas"].sort_values("r2", ascending=False, kind="stable")["column"].tolist()
    done = [covariate["name"] for covariate in adjusted["covariates"]] if adjusted else []
    page |= suggestion(table, shares, done)
    # Age and sex are always there; of the others, those that explain most.
    rest = [name for name in order if name not in ("age", "sex")]
    shown = [name for name in ("age", "sex") if name in order] + rest
    page["columns_beyond"] = max(len(shown) - MOST_COLUMNS, 0)
    shown = shown[:MOST_COLUMNS]
    if not shown:
        return page
    page["components"] = components_figure(figures, samples, scores, shares, columns, shown)
    page["explained"] = explained_figure(figures, table, shown)
    for name in shown:
        found = table[table["column"] == name]
        parts = found[found["of"] != "betas"]
        first = parts.loc[parts["r2"].idxmax()]
        page["explained_rows"].append(
            {
                "column": name,
                "kind": found["kind"].iat[0],
                "n": count(found["n"].iat[0]),
                "betas": percent(found["r2"].iat[0]),
                "chance": percent(found["chance"].iat[0]),
                "most": f"{first['of']}, {percent(first['r2'], 0)}",
                "surely": bool(parts["surely"].any()),
                "terms": ", ".join(parts.loc[parts["surely"].astype(bool), "of"]) or "none",
            }
        )
    logging.info("%d columns of the sheet held against %d CpGs", len(columns), len(values))
    return page


def _pooled_row(one: dict) -> dict:
    """What the page shows of a pooled cohort; one: its part of the QC."""
    low, high = one["age"]
    return {
        "cohort": one["cohort"],
        "people": count(one["people"]),
        "age": f"{low:g} to {high:g}",
        "strata": f"{count(one['strata'])} of {count(one['min_stratum'])} people and more",
        "cell": count(one["min_cell"]) if one["min_cell"] > 1 else "any number",
        "cpgs": f"{count(one['cpgs'])} ({one['array']})",
        "adjusted": ", ".join(one["adjusted"]) or "nothing",
    }


# Ages


def ages_figure(figures, samples):
    ages = samples["age"].to_numpy()
    step = next(step for step in (1, 2, 5, 10) if np.ptp(ages) / step <= 24 or step == 10)
    edges = np.arange(np.floor(ages.min() / step) * step, ages.max() + step, step)
    edges = edges if len(edges) > 1 else np.array([edges[0], edges[0] + step])
    groups = {"all": np.ones(len(ages), dtype=bool)}
    if "sex" in samples:
        sex = samples["sex"].astype(object).where(samples["sex"].notna(), "not given").astype(str)
        common = list(sex.value_counts(sort=True).index[:3])
        groups = {name: (sex == name).to_numpy() for name in sorted(common)}
        rest = ~np.logical_or.reduce(list(groups.values()))
        groups |= {"other": rest} if rest.any() else {}
    colours = [ACCENT, SECOND, MUTED, LINE]
    figure, axes = plt.subplots(figsize=(5.2, 2.1))
    base, data = np.zeros(len(edges) - 1), []
    for (name, chosen), colour in zip(groups.items(), colours, strict=False):
        height = np.histogram(ages[chosen], edges)[0]
        axes.bar(edges[:-1], height, width=0.92 * step, bottom=base, align="edge", color=colour, label=name)
        base += height
        data.append(pd.DataFrame({"age_from": edges[:-1], "age_to": edges[1:], "sex": name, "n": height}))
    axes.set(xlabel="age (years)", ylabel="samples")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="y")
    if len(groups) > 1:
        axes.legend(ncols=len(groups), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figures.save("ages", figure, pd.concat(data), "Ages of the samples")
