"""The target `enrichment`: do taxa hold more CpGs of published lists, or of a genomic context, than chance does?"""

import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats
from scipy.stats.contingency import odds_ratio

from cpgtaxa.errors import gathered, refuse
from cpgtaxa.files import read_parquet
from cpgtaxa.names import KNOWN, UNCLASSIFIED
from cpgtaxa.pages.drawing import ACCENT, INK, MUTED, SECOND, figures_in
from cpgtaxa.pages.page import file_names, write_csv, write_page
from cpgtaxa.progress import Progress
from cpgtaxa.targets.biology import anatomy
from cpgtaxa.targets.biology.lists import CpgList, base_ids, read_context, read_lists, read_taxonomy
from cpgtaxa.wording import decimal, p_value, percent, span

EXACT_UP_TO = 3000
"""Values a cell of the table may take beyond which the exact interval takes seconds to minutes."""
FEW = 50
"""Smallest cell from which on the normal approximation stands in for the exact interval, in tables that large."""
FEWEST_DRAWN = 5
"""CpGs of a list in the background from which its odds ratios are drawn: of fewer the intervals are without end."""
TREND_P = 1e-3
"""CpGs whose slope has a p below this count as changing with age in the sign agreement."""
COLUMNS = [
    "kind", "set", "category", "taxon", "overlap", "expected", "in_set", "in_taxon", "background", "odds_ratio",
    "ci_low", "ci_high", "p", "q", "method",
]  # fmt: skip
LISTED = 25


def odds(overlap: int, in_set: int, in_taxon: int, background: int) -> dict:
    """Odds ratio of a 2×2 table with its 95 % interval, Fisher's two-sided p, and the expected overlap.

    Conditional maximum likelihood with the exact interval (scipy.stats.contingency.odds_ratio): it needs no correction
    for empty cells, where it is 0 or infinite with one finite bound, and goes with Fisher's test. Its interval takes
    minutes on tables of 100,000s; with every cell at least FEW there, Woolf's interval on the log scale agrees in three
    digits and is taken.
    """
    table = [[overlap, in_taxon - overlap], [in_set - overlap, background - in_set - in_taxon + overlap]]
    large = min(in_set, in_taxon, background - in_set, background - in_taxon) > EXACT_UP_TO
    method = "sample" if large and min(map(min, table)) >= FEW else "conditional"
    found = odds_ratio(table, kind=method)
    interval = found.confidence_interval(0.95)
    return {
        "odds_ratio": float(found.statistic),
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "p": float(stats.fisher_exact(table).pvalue),
        "expected": in_set * in_taxon / background,
        "method": "exact" if method == "conditional" else "Woolf",
    }


def tests(member: np.ndarray, taxon: np.ndarray, **names) -> list[dict]:
    """Rows of COLUMNS but q, one per taxon that there is. member: (n,) bool; taxon: (n,) names, of the background."""
    rows = []
    for name in KNOWN:
        here = taxon == name
        n = int(here.sum())
        if not n:
            continue
        counts = {"overlap": int((member & here).sum()), "in_set": int(member.sum()), "in_taxon": n}
        counts["background"] = len(taxon)
        rows.append({**names, "taxon": name, **counts, **odds(**counts)})
    return rows


def enrichments(taxonomy: pd.DataFrame, lists: list[CpgList], context=None) -> pd.DataFrame:
    """Rows of COLUMNS: every list and every category of the context against every taxon; q after Benjamini–Hochberg.

    taxonomy: cpg, taxon of the background. Lists and taxa are compared among all its CpGs, categories among those that
    the context knows. A list or category with none, or all, of them says nothing and has no rows.
    """
    ids, taxon = base_ids(taxonomy["cpg"]), taxonomy["taxon"].to_numpy(dtype=object)
    index = pd.Index(ids)
    rows = []
    categories = sum(len(masks) for masks in context[1].values()) if context is not None else 0
    progress = Progress(len(lists) + categories, "lists and categories tested")
    for one in progress.over(lists):
        member = index.isin(one.cpgs)
        if 0 < member.sum() < len(member):
            rows += tests(member, taxon, kind="list", set=one.name, category="")
    if context is not None:
        known = pd.Index(context[0]).get_indexer(index)
        for column, masks in context[1].items():
            for category, mask in progress.over(masks.items()):
                member = mask[known[known >= 0]]
                if 0 < member.sum() < len(member):
                    rows += tests(member, taxon[known >= 0], kind="context", set=column, category=category)
    found = pd.DataFrame(rows, columns=COLUMNS)
    if len(found):
        found["q"] = stats.false_discovery_control(found["p"], method="bh")
    return found


def overlaps(taxonomy: pd.DataFrame, lists: list[CpgList]) -> pd.DataFrame:
    """cpg (as in the taxonomy), set, weight, taxon, source, confidence of every CpG of a list.

    Those that the taxonomy does not know have no taxon.
    """
    ids = pd.DataFrame({"base": base_ids(taxonomy["cpg"])}).join(taxonomy.reset_index(drop=True))
    parts = []
    for one in lists:
        weights = one.weights if one.weights is not None else np.full(len(one.cpgs), np.nan)
        asked = pd.DataFrame({"base": one.cpgs, "set": one.name, "weight": weights})
        both = asked.merge(ids, on="base", how="left")
        both["cpg"] = both["cpg"].where(both["cpg"].notna(), both["base"])
        parts.append(both[["cpg", "set", "weight", "taxon", "source", "confidence"]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["cpg", "set", "weight", "taxon"])


def signs(found: pd.DataFrame, slopes: pd.DataFrame) -> pd.DataFrame:
    """Do CpGs of positive weight gain methylation with age? set, among, n, agree, share, interval, expected, p.

    found: `overlaps`; slopes: cpg, slope, slope_p. among: all, those that change with age (slope_p < TREND_P), or a
    taxon. share has the exact (Clopper–Pearson) interval; expected is what the numbers of signs alone would give; p is
    Fisher's, of the signs of weights against those of slopes.
    """
    both = found[found["weight"].fillna(0) != 0].merge(slopes, on="cpg")
    both = both[both["slope"].notna() & (both["slope"] != 0)]
    rows = []
    for name in pd.unique(found["set"]):
        own = both[both["set"] == name]
        parts = {"all": own, "changing with age": own[own["slope_p"] < TREND_P]}
        parts |= {taxon: own[own["taxon"] == taxon] for taxon in KNOWN}
        for among, some in parts.items():
            n = len(some)
            if n < 5:
                continue
            up, gains = (some["weight"] > 0).to_numpy(), (some["slope"] > 0).to_numpy()
            agree = int((up == gains).sum())
            interval = stats.binomtest(agree, n).proportion_ci(0.95, method="exact")
            table = [[(up & gains).sum(), (up & ~gains).sum()], [(~up & gains).sum(), (~up & ~gains).sum()]]
            expected = up.mean() * gains.mean() + (1 - up.mean()) * (1 - gains.mean())
            rows.append((name, among, n, agree, agree / n, interval.low, interval.high, expected))
            rows[-1] += (float(stats.fisher_exact(table).pvalue),)
    columns = ["set", "among", "n", "agree", "share", "ci_low", "ci_high", "expected", "p"]
    return pd.DataFrame(rows, columns=columns)


def coverage(lists: list[CpgList], background: pd.Index, found: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """One row per list: set, asked, found, share, positive, negative, placed, and the most enriched taxon."""
    rows = []
    for one in lists:
        own = found[found["set"] == one.name]
        own = own[own["taxon"].notna()]
        placed = own[own["taxon"] != UNCLASSIFIED]
        enriched = table[(table["kind"] == "list") & (table["set"] == one.name) & (table["taxon"] != UNCLASSIFIED)]
        enriched = enriched[(enriched["q"] < 0.05) & (enriched["odds_ratio"] > 1)].sort_values(
            "ci_low", ascending=False
        )
        n = int(np.isin(one.cpgs, background).sum())
        weights = one.weights if one.weights is not None else np.zeros(0)
        rows.append(
            {
                "set": one.name,
                "asked": len(one.cpgs),
                "found": n,
                "share": n / len(one.cpgs),
                "positive": int((weights > 0).sum()),
                "negative": int((weights < 0).sum()),
                "placed": len(placed),
                "most_enriched": enriched["taxon"].iloc[0] if len(enriched) else "",
                "odds_ratio": enriched["odds_ratio"].iloc[0] if len(enriched) else np.nan,
                "ci_low": enriched["ci_low"].iloc[0] if len(enriched) else np.nan,
                "ci_high": enriched["ci_high"].iloc[0] if len(enriched) else np.nan,
            }
        )
    columns = ["set", "asked", "found", "share", "positive", "negative", "placed", "most_enriched", "odds_ratio"]
    return pd.DataFrame(rows, columns=[*columns, "ci_low", "ci_high"])


# Figures


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Ends of the axis of log2 odds ratios: what is estimated, and no more than 7 to each side."""
    ends = table[["ci_low", "ci_high", "odds_ratio"]].to_numpy(dtype=float)
    ends = np.log2(ends[np.isfinite(ends) & (ends > 0)])
    return (max(-7, min(ends.min(), -1) - 0.3), min(7, max(ends.max(), 1) + 0.3)) if len(ends) else (-2, 2)


def _lists_figure(figures, table: pd.DataFrame):
    """Odds ratios with their intervals, a panel for each list."""
    names, taxa = list(pd.unique(table["set"])), [name for name in KNOWN if name in set(table["taxon"])]
    across = min(3, len(names))
    down = -(-len(names) // across)
    size = (2.6 * across + 1.2, down * (0.25 * len(taxa) + 0.85))
    figure, panels = plt.subplots(down, across, figsize=size, squeeze=False, sharex=True, sharey=True)
    low, high = _limits(table)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels.flat, names, strict=False):
        some = table[table["set"] == name].set_index("taxon")
        axes.axvline(0, color=MUTED, lw=0.9)
        for row, taxon in enumerate(taxa):
            if taxon not in some.index:
                continue
            one = some.loc[taxon]
            with np.errstate(divide="ignore"):
                at, left, right = np.clip(np.log2([one["odds_ratio"], one["ci_low"], one["ci_high"]]), low, high)
            clear = one["q"] < 0.05
            colour = MUTED if not clear else (ACCENT if one["odds_ratio"] > 1 else SECOND)
            axes.plot([left, right], [row, row], color=colour, lw=1.8, alpha=1 if clear else 0.7)
            if not one["overlap"]:
                axes.plot([low], [row], "<", ms=5, color=colour, clip_on=False)
            elif not np.isfinite(one["odds_ratio"]):
                axes.plot([high], [row], ">", ms=5, color=colour, clip_on=False)
            else:
                axes.plot([at], [row], "D", ms=4.5, color=colour, mfc=colour if clear else "none")
        ticks = [tick for tick in (-6, -4, -2, 0, 2, 4, 6) if low <= tick <= high]
        axes.set_xticks(ticks, [f"{2**tick:g}" if tick >= 0 else f"1/{2**-tick}" for tick in ticks])
        axes.set(xlim=(low, high), title=name)
        axes.set_yticks(range(len(taxa)), taxa)
        axes.set_ylim(len(taxa) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
    for axes in panels[-1]:
        axes.set_xlabel("odds ratio")
    figure.tight_layout()
    return figures.save("lists", figure, table[COLUMNS], "Odds ratios of lists and taxa")


def _context_figure(figures, table: pd.DataFrame):
    """Odds ratios of categories and taxa as dots: area by |log2|, filled where q < 0.05."""
    taxa = [name for name in KNOWN if name in set(table["taxon"])]
    places, labels, at = {}, [], 0.0
    for column, some in table.groupby("set", sort=False):
        labels.append((at, column, True))
        at += 1
        for category in pd.unique(some["category"]):
            places[column, category] = at
            labels.append((at, category, False))
            at += 1
    figure, axes = plt.subplots(figsize=(0.55 * len(taxa) + 2.4, 0.27 * at + 1.1))
    for one in table.itertuples():
        size = np.log2(one.odds_ratio) if 0 < one.odds_ratio < np.inf else (3 if one.odds_ratio else -3)
        colour = ACCENT if size > 0 else SECOND
        face = colour if one.q < 0.05 else "none"
        x, y = taxa.index(one.taxon), places[one.set, one.category]
        axes.scatter([x], [y], s=8 + 42 * min(abs(size), 3), color=face, edgecolors=colour, linewidths=0.9)
    axes.set_yticks([at for at, _, _ in labels], [name for _, name, _ in labels])
    for tick, (_, _, head) in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if head else "normal")
        tick.set_color(INK)
    axes.set_xticks(range(len(taxa)), taxa, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlim=(-0.6, len(taxa) - 0.4), ylim=(at - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.grid()
    return figures.save("context", figure, table[COLUMNS], "Odds ratios of genomic context and taxa")


def _signs_figure(figures, table: pd.DataFrame):
    """Shares of CpGs whose weight has the sign of their slope."""
    some = table[table["among"].isin(("all", "changing with age"))]
    names = list(pd.unique(some["set"]))
    figure, axes = plt.subplots(figsize=(5.2, 0.5 * len(names) + 1.0))
    for among, shift, colour in (("all", -0.13, MUTED), ("changing with age", 0.13, ACCENT)):
        own = some[some["among"] == among]
        y = [names.index(name) + shift for name in own["set"]]
        axes.hlines(y, own["ci_low"], own["ci_high"], color=colour, lw=1.8)
        axes.plot(own["share"], y, "D", ms=4.5, color=colour, label=among)
        axes.plot(own["expected"], y, "|", ms=9, mew=1.6, color=SECOND)
    axes.set_yticks(range(len(names)), names)
    axes.set(
        xlim=(0, 1.02), ylim=(len(names) - 0.5, -0.5), xlabel="share of CpGs whose weight has the sign of the slope"
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figures.save("signs", figure, table, "Agreement of signs")


# All of it


def _covered(lists, context, background: pd.Index, context_path) -> tuple[dict[str, int], list[str]]:
    """CpGs of each list in the background, and notes; InputError where nothing can be compared."""
    problems = []
    covered = {one.name: int(np.isin(one.cpgs, background).sum()) for one in lists}
    notes = [note for one in lists for note in one.notes]
    for name, n in covered.items():
        if not n:
            notes.append(f"{name}: none of its CpGs is in the taxonomy, so that nothing can be said of it")
        elif n == len(background):
            notes.append(f"{name}: all CpGs of the background belong to it, so that nothing can be said of it")
    if context is not None:
        known = int(np.isin(background, context[0]).sum())
        if not known:
            problems.append(
                f"enrichment.context: none of the {len(background):,} CpGs of the taxonomy is in {context_path}; "
                f"it has ids such as {', '.join(map(repr, context[0][:3]))}"
            )
        elif known < len(background):
            notes.append(f"context: {known:,} of {len(background):,} CpGs are known, which are its background")
    if not any(covered.values()) and context is None:
        problems.append(
            "enrichment.sets: no list has a CpG of the taxonomy, whose ids are such as "
            f"{', '.join(map(repr, background[:3]))}; the lists' are such as "
            f"{', '.join(repr(one.cpgs[0]) for one in lists[:3])}"
        )
    refuse(problems)
    return covered, notes


def write(inputs: dict, outputs: dict, *, settings: dict) -> None:
    """Read taxonomy, lists, context and statistics, and write tables, figures and page.

    inputs: `taxonomy`, `lists` (paths, in the order of settings["names"]), perhaps `context`, `statistics`, and `beta`,
    `samples`, `patterns` for the anatomy of clocks. settings: `BiologyPlan.enrichment_settings`. outputs: `enrichment`
    (COLUMNS), `overlaps`, `signs`, `summary` (`coverage`), `anatomy`, `gaps` (`anatomy.anatomies`), `html`, `figures`,
    a folder of SVG and CSV. Raises InputError with the problems of all files, and where no list has a CpG of the
    background.
    """
    problems = []
    taxonomy = whole = gathered(problems, read_taxonomy, inputs["taxonomy"], "enrichment.taxonomy")
    files = dict(zip(settings["names"], inputs["lists"], strict=True))
    lists = gathered(problems, read_lists, files, "enrichment.sets")
    context = None
    if inputs.get("context"):
        columns = settings["context_columns"]
        context = gathered(problems, read_context, inputs["context"], "enrichment.context", columns)
    refuse(problems)
    if settings["background"] == "placed":
        taxonomy = taxonomy[taxonomy["taxon"] != UNCLASSIFIED].reset_index(drop=True)
    background = pd.Index(base_ids(taxonomy["cpg"]))
    covered, notes = _covered(lists, context, background, inputs.get("context"))
    table = enrichments(taxonomy, lists, context)
    found = overlaps(taxonomy, lists)
    slopes = None
    agreement = pd.DataFrame(columns=["set", "among", "n", "agree", "share", "ci_low", "ci_high", "expected", "p"])
    if inputs.get("statistics"):
        slopes = read_parquet(inputs["statistics"], columns=["cpg", "slope", "slope_p"])
        agreement = signs(found, slopes)
    summary = coverage(lists, background, found, table)
    shares, gaps, more = anatomy.anatomies(inputs, lists, whole, settings["seed"])
    notes += more
    write_csv(outputs["enrichment"], table)
    write_csv(outputs["overlaps"], found)
    write_csv(outputs["signs"], agreement)
    write_csv(outputs["summary"], summary)
    write_csv(outputs["anatomy"], shares)
    write_csv(outputs["gaps"], gaps)
    of_lists, of_context = (table[table["kind"] == kind] for kind in ("list", "context"))
    drawable = of_lists[of_lists["set"].isin([name for name, n in covered.items() if n >= FEWEST_DRAWN])]
    with figures_in(outputs["figures"]) as figures:
        drawn = {
            "lists": _lists_figure(figures, drawable) if len(drawable) else None,
            "context": _context_figure(figures, of_context) if len(of_context) else None,
            "signs": _signs_figure(figures, agreement) if len(agreement) else None,
            "anatomy": anatomy.draw(figures, shares) if len(shares) else None,
        }
    clear = table[table["q"] < 0.05]
    page = {
        "n": len(taxonomy),
        "background": settings["background"],
        "summary": [_set_page(row) for row in summary.to_dict("records")],
        "tests": len(table),
        "clear": len(clear),
        "rows": [_row_page(row) for row in clear.sort_values("p").head(LISTED).to_dict("records")],
        "signs": [_sign_page(row) for row in agreement.to_dict("records")],
        "statistics": slopes is not None,
        "anatomy": anatomy.on_page(shares, gaps),
        "clocks": len(gaps),
        "woolf": bool((table["method"] == "Woolf").any()),
        "notes": notes,
        "drawn": drawn,
        "large": len(pd.unique(drawable["set"])) > 1,
        "not_drawn": [name for name in pd.unique(of_lists["set"]) if covered[name] < FEWEST_DRAWN],
        "fewest": FEWEST_DRAWN,
        "trend_p": f"{TREND_P:g}",
        "files": file_names(outputs),
    }
    write_page(outputs["html"], "enrichment.html.j2", page)
    for note in notes:
        logging.warning(note)
    logging.info(f"{len(table):,} tests, {len(clear):,} with q < 0.05")


def _ratio(value) -> str:
    return "∞" if np.isinf(value) else decimal(value, 2)


def _row_page(row: dict) -> dict:
    return {
        "name": row["set"] + (f": {row['category']}" if row["category"] else ""),
        "taxon": row["taxon"],
        "overlap": f"{row['overlap']:,}",
        "expected": f"{row['expected']:,.1f}",
        "odds": _ratio(row["odds_ratio"]),
        "range": span(row["ci_low"], row["ci_high"], _ratio),
        "p": p_value(row["p"]),
        "q": p_value(row["q"]),
    }


def _set_page(row: dict) -> dict:
    return row | {
        "share": percent(row["share"]),
        "odds": _ratio(row["odds_ratio"]),
        "range": span(row["ci_low"], row["ci_high"], _ratio),
    }


def _sign_page(row: dict) -> dict:
    return row | {
        "share": percent(row["share"]),
        "range": span(row["ci_low"], row["ci_high"], percent),
        "expected": percent(row["expected"]),
        "p": p_value(row["p"]),
    }
