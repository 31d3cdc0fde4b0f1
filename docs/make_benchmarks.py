"""Writes docs/benchmarks.md from the CSV files of tests/benchmarks, and the three figures that README.md quotes.

    .venv/bin/python docs/make_benchmarks.py

To be run whenever a CSV file there has changed.
"""

import dataclasses
import pathlib

import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests/benchmarks"
PAGE = ROOT / "docs/benchmarks.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: made by docs/make_benchmarks.py -->\n", "<!-- end of figures -->"

HEAD = """# Benchmarks

<!-- Made by docs/make_benchmarks.py from tests/benchmarks/*.csv: edit the script. -->

Each table is made from a CSV file in `tests/benchmarks` that the named command writes. Where several seeds were run the
table has their mean. Times were taken in November 2026 on two shared cores of an AMD EPYC without a GPU (24 GB of
memory), where nothing else is said; repeats differ by up to a third. No GPU was measured: the script for it is
[gpu.py](../tests/benchmarks/gpu.py). Two scripts have no table: [ingest_pace.py](../tests/benchmarks/ingest_pace.py),
speed of reading text, and [realism.py](../tests/benchmarks/realism.py), how far simulated and real CpGs can be
distinguished. What was measured of a target with its own examples stands on that target's page.
"""

NAMES = {
    "n_cpgs": "CpGs",
    "cpgs": "CpGs",
    "n_samples": "samples",
    "seconds": "seconds",
    "peak_mb": "peak MB",
    "VmHWM": "peak MB",
    "RssAnon": "MB of its own",
    "auc": "area under the ROC curve",
    "r2": "R²",
    "p": "p",
    "kappa": "κ",
    "ari": "adjusted Rand index",
    "lr": "learning rate",
    "ciede2000": "CIEDE2000",
    "macro_f1": "macro-F1",
}


@dataclasses.dataclass
class Section:
    """A section of the page. file: CSV in tests/benchmarks. text: what is measured, in Markdown.

    by: columns whose combinations are the rows, the others being averaged; empty: the file as it is. over: a column
    whose values become columns, filled with `value`. drop: columns left out. turned: rows become columns.
    """

    title: str
    file: str
    command: str
    text: str
    by: tuple = ()
    over: str = ""
    value: str = ""
    drop: tuple = ("seed",)
    turned: bool = False


SECTIONS = (
    Section(
        "Real cohorts",
        "real_cohorts.csv",
        "real_cohorts.py --out tests/benchmarks/real_cohorts.csv",
        "The taxa that the tests alone give in real cohorts. *Placed*: share of the CpGs that get a taxon; "
        "*clear*: those not marked as boundary. *Halves*: the samples are halved five times, and taxa from both "
        "halves compared. *Ages permuted*: share of CpGs with a trend or a changing spread where ages are dealt "
        "out at random, ten times. *Lists* (CpGs over SNPs, of sex chromosomes, of low variance, of association "
        "studies of age): share with a taxon of the expected kind. The cohorts are subsets of public ones "
        "(`../shared/data`).",
    ),
    Section(
        "Stability",
        "stability.csv",
        "stability.py --out tests/benchmarks/stability.csv",
        "Share of the CpGs of real cohorts with the *same* taxon (or Unclassified in both) where next to nothing "
        "changes: betas rounded to four or three decimals, one sample left out (the mean of 20, and the run with "
        "fewest), another seed. *Other*: share with another taxon; the rest of the changes is between a taxon and "
        "Unclassified. *Marked*: share of the changed CpGs that were marked as boundary.",
    ),
    Section(
        "Confidence",
        "confidence.csv",
        "confidence.py --out tests/benchmarks/confidence.csv",
        "Mean `confidence` of the tests' labels, and the share that is *right*. Parts of real cohorts are compared "
        "with the whole cohort. Simulated cohorts have as many CpGs of each taxon, which real ones do not. *Unsure*: "
        "share with a confidence below 0.95; *sure*: of 0.99 and more.",
    ),
    Section(
        "Shapes of change and causes of bands",
        "patterns.csv",
        "patterns.py",
        "`results/patterns.parquet` against planted truth and on real cohorts. *Planted* shapes: 36 CpGs of each shape "
        "whose range over the central 90 % of ages is so many standard deviations of realistic noise; *of the "
        "spread*: so many times the standard deviation. *Straight or flat*: simulated CpGs of all ten taxa, which bend "
        "a little. *Planted* causes: bands of genotypes, sexes, plates, chips; *none in the sheet*: bands dealt out at "
        "random; *listed as imprinted*: 40 to 95 % of the people are in the band near 0.5. Brain: adults, and all ages "
        "from birth on. "
        "Times are processor times of one thread; those for an array are extrapolated from them.",
    ),
    Section(
        "Will it replicate?",
        "replication.csv",
        "replication.py",
        "The column `replication` of `results/patterns.parquet`: what a cohort promises of another one of the same "
        "ages, and what that one then says, as means over the CpGs to which the tests give a taxon. *Halves* of real "
        "cohorts, five times; *women, men* of real cohorts, each for as many people as the other has; *simulated*: 20 "
        "populations halved. Small pairs differ by a few points by chance: 300 CpGs tell agreement to ± 5. *By chance "
        "promised*: all pairs together. *True chance in the interval*: of simulated CpGs in 40 more cohorts. Speed: "
        "processor seconds of one thread (column *promised*).",
    ),
    Section(
        "Labels by the tests, simulated cohorts",
        "label_quality.csv",
        "label_quality.py --out tests/benchmarks/label_quality.csv",
        "Precision and recall of the taxa that the tests give, by number of samples. A taxon is right if it is "
        "admissible for the CpG's true parameters.",
        by=("figure",),
        over="samples",
        value="value",
    ),
    Section(
        "The whole job, simulated cohorts",
        "taxonomy_quality.csv",
        "taxonomy_quality.py --work FOLDER --out tests/benchmarks/taxonomy_quality.csv",
        "The main job with the settings of the demo, held against the simulated truth.",
        by=("samples",),
    ),
    Section(
        "What the image network adds",
        "what_adds.csv",
        "what_adds.py --out tests/benchmarks/what_adds.csv",
        "The same CpGs by the tests, by gradient-boosted trees on the statistics, by the shipped network, and by "
        "combinations. *precision*: taxa admissible for the true parameters; *equal of all*: share of all CpGs with "
        "the same taxon from both halves of a cohort; *with age*: share of CpGs with a taxon of age where ages are "
        "dealt out at random.",
        drop=("precision_where_tests", "precision_where_open"),
    ),
    Section(
        "Published pictures",
        "published_pictures.csv",
        "published_pictures.py --out tests/benchmarks/published_pictures.csv",
        "Pictures of the article whose taxon is published: the shipped network's taxon with its probability, and "
        "that of the tests on points recovered from the picture (`draws`: of five recoveries). Nothing was tuned "
        "on them.",
        drop=("reason",),
    ),
    Section(
        "Foreign patterns and bad data",
        "unlike.csv",
        "unlike.py --out tests/benchmarks/unlike.csv",
        "What becomes of simulated CpGs of kinds that no taxon describes: shares labelled by the tests, placed by "
        "the network, and left over, by reason.",
    ),
    Section(
        "Candidate new taxa",
        "candidate_taxa.csv",
        "candidate_taxa.py --samples 300 656 1500 --out tests/benchmarks/candidate_taxa.csv",
        "A pattern planted among the Unclassified of simulated cohorts: is it found as a cluster?",
        by=("samples", "planted", "n"),
        drop=("seed", "main_cluster", "nearest_known"),
    ),
    Section(
        "Adjusting for cell types",
        "adjusting.csv",
        "adjusting.py --out tests/benchmarks/adjusting.csv",
        "Taxa by the tests without and with adjusting, where cell fractions that drift with age were added to "
        "half of the CpGs; truth is the taxon before. The whole contingency table is in the file.",
    ),
    Section(
        "Whose cells change",
        "cell_types.csv",
        "cell_types.py",
        "The target `cell_types` on mixtures of real sorted cells, 600 people, in the fractions and at the ages of "
        "real people; means of three draws. *True* fractions, or *estimated* ones. Planted in one type: the "
        "mean changes by so much over the central 90 % of ages, or deviations come to it whose standard deviation "
        "grows from 0 to so much. *AUC*: the right type against the other five, by p; 0.9 is asked for where the "
        "change is 0.3. *Named*: what `cell_type` and `spread_cell_type` say where 900 CpGs change in one type by 0.3, "
        "600 in all types alike (the mean by 0.1, the spread by 0.06), and 1,500 do not change.",
        by=("figure", "type"),
        over="fractions",
        value="value",
    ),
    Section(
        "Several cohorts, one taxonomy",
        "compare_meta.csv",
        "compare_meta.py",
        "Precision and recall of a taxonomy pooled from several simulated cohorts (target `compare`), with errors "
        "of the networks that are shared to the degree `alike`.",
        by=("labels", "alike", "what", "cohorts"),
    ),
    Section(
        "Cohorts that may not be shared",
        "pool.csv",
        "pool.py --out tests/benchmarks/pool.csv",
        "Targets `summarise` and `pool`. *Same taxon*: of the CpGs that the pooled betas place, those that the pooled "
        "summaries give the same taxon; the cohort taken out both ways, the tests alone, mean and range over draws of "
        "pseudo-people. *Membership*: how well someone with a person's betas, age and sex tells from a summary whether "
        "the person is in it. *Shard of a large pool*: processor times of one thread; those for a whole array are "
        "extrapolated.",
    ),
    Section(
        "A network on data of another kind",
        "transfers.csv",
        "transfers.py --out tests/benchmarks/transfers.csv",
        "Share right of networks trained from random weights on 2,000 images of one kind of simulation (rows), tested "
        "on others (columns); clear CpGs alone.",
    ),
    Section(
        "Recipes",
        "recipes.csv",
        'recipes.py --seeds 1 --only "default (shipped weights)" "random weights" "published ResNet18" '
        "--out tests/benchmarks/recipes.csv",
        "The default recipe beside the same from random weights and the published one: one seed, the same simulated "
        "images, 64 pixels; seconds of one thread. Without `--only` the script takes the default apart, ingredient by "
        "ingredient.",
        by=("variant",),
    ),
    Section(
        "Image sizes",
        "sizes.csv",
        "sizes.py --sizes 32 64 112 --out tests/benchmarks/sizes.csv",
        "Networks continued from the shipped one, made at 64 pixels, at other image sizes: accuracy on other simulated "
        "clear CpGs, and of the three published pictures of clear CpGs those called right.",
        by=("size", "start"),
    ),
    Section(
        "Prediction in whole numbers",
        "engine.csv",
        "engine.py --out tests/benchmarks/engine.csv",
        "The shipped network by OpenVINO (`training.engine`), in int8 and, where two taxa are close, in float32, "
        "beside torch. Pace: one core (AMD EPYC, Zen 5), drawing and distances included, processor time beside other "
        "work; boundary CpGs, of which one in ten is close; *avx2*: without AVX-512 and VNNI (`--instructions avx2`). "
        "Same: the first taxon is that of the network in float32. Placed: what the first round places of a cohort's "
        "Unclassified. Stages: int8 alone, cut off after a stage. Leave: CpGs that a small network on a stage's "
        "features could spare the rest, and how many of them have the taxon of the whole. Student: a ResNet18 a "
        "quarter as wide, distilled from the network for a cohort; what it answers, the network is spared.",
        by=("part", "instructions", "where", "engine", "what"),
    ),
    Section(
        "A shard of a whole array",
        "array_shard.csv",
        "array_shard.py --out tests/benchmarks/array_shard.csv",
        "Each step on one core, and its hours of one core for 811,870 CpGs × 3,500 samples **extrapolated** from that.",
        by=("step",),
    ),
    Section(
        "A whole array",
        "full_array.csv",
        "full_array.py --work FOLDER --out tests/benchmarks/full_array.csv",
        "811,870 simulated CpGs × 3,500 samples as a CSV file of 22 GB, settings of "
        "[two_cores.yaml](../config/two_cores.yaml), two cores: seconds summed over a rule's jobs, and peak "
        "memory of a job. The tests leave 7,475 of these CpGs open, whose images are classified; each further one "
        "costs 0.8 ms of one core.",
    ),
    Section(
        "Speed of each stage beside its peers",
        "speed.csv",
        "",
        "`.venv/bin/snakemake benchmark --cores 2`; 224 pixels. Peers get fewer CpGs: compare per CpG. *limit*: what "
        "no implementation can do without, on one core: the file's bytes read once, each CpG's values sorted once, the "
        "images' bytes written or read once, the network's products as one product of matrices.",
    ),
    Section(
        "Explorer",
        "explorer_scale.csv",
        "explorer_scale.py FOLDER 10000x656 811870x656 811870x3500",
        "Seconds and memory to write the explorer of random betas, its size, and how quickly it answers in "
        "headless Chromium.",
        turned=True,
    ),
    Section(
        "Colours",
        "palette.csv",
        "palette.py",
        "Distance of the closest pair of taxa (CIEDE2000) and lowest contrast with the page, with normal sight "
        "and each dichromacy (Machado et al. 2009), of the present colours and those before.",
    ),
    Section(
        "Gene expression: speed",
        "expression_speed.csv",
        "expression_speed.py",
        "Many genes' networks trained together against one gene after the other; seconds per gene on one core, "
        "five folds, 240 samples. The peer is a plain loop with the published recipe (full batch, at most 700 "
        "epochs, patience 90), without its leaks. R² is that of few simulated genes and differs by chance.",
    ),
    Section(
        "Histone marks: full set",
        "histone_scale.csv",
        "histone_scale.py",
        "56 cell types of 19,802 genes: memory (MB) and pace.",
    ),
    Section(
        "Histone marks: warm-up",
        "histone_warmup.csv",
        "histone_warmup.py",
        "GeneNet on one simulated cell type, by epochs of warm-up of the learning rate: area under the ROC curve.",
        by=("warmup",),
        over="seed",
        value="auc",
    ),
    Section(
        "Single cells: pace and memory",
        "single_cell_windows.csv",
        "single_cell_windows.py",
        "20 cells on one chromosome: reading and joining profiles, cutting windows. Memory in MB.",
    ),
    Section(
        "Single cells: CpG models at equal time",
        "single_cell_models.csv",
        "single_cell_models.py",
        "25 liver-cancer cells, sites by order, no positions and no sequence "
        "([single_cell_hcc.yaml](../config/examples/single_cell_hcc.yaml)): every fifth site of the test chromosomes, "
        "on which the example's peers and its CpG network (`cpg`) are scored too. *Hidden*: trained and tested without "
        "what other cells show at the `site`, or without the ten sites on either side in their order (`around`).",
    ),
    Section(
        "Taxa from sequence: what is found",
        "taxa_from_sequence.csv",
        "taxa_from_sequence.py",
        "CpGs of 900 kb of real sequence, 1,001 bases around each. Classes of bulk reads; the same moved along the "
        "sequence, which then knows nothing of them; and classes whose odds hang on the density of CpGs. Means over "
        "the draws, median p; `found`: share of draws with p below 0.05. A p beside a balanced accuracy below "
        "0.5 says nothing.",
    ),
    Section(
        "ECG: pace",
        "ecg_throughput.csv",
        "ecg_throughput.py --seconds 10",
        "Records a second on one core with bfloat16; the narrow networks, which see 125 Hz, on a busy machine, by "
        "processor time.",
    ),
    Section(
        "Own code beside libraries",
        "libraries.csv",
        "libraries.py --out tests/benchmarks/libraries.csv",
        "Milliseconds of processor time, per CpG of the first three, and how many times those of the library. What "
        "follows from it stands in [Design](design.md).",
    ),
)


def name(column) -> str:
    """A column's heading."""
    return NAMES.get(str(column), str(column).replace("_", " "))


def number(value) -> str:
    """A number with up to four digits, a text as it is."""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    if pd.isna(value):
        return ""
    if float(value) == round(float(value)) and abs(value) < 1e12:
        return f"{round(float(value)):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"


def markdown(table: pd.DataFrame) -> str:
    """A frame as a table of Markdown."""
    lines = ["| " + " | ".join(map(name, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(map(number, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines)


def gathered(section: Section) -> pd.DataFrame:
    """The table of a section: the rows asked for, averaged over what is not named."""
    table = pd.read_csv(FOLDER / section.file)
    by = [column for column in section.by if column in table]
    if section.over and {section.over, section.value} <= set(table):
        wide = table.pivot_table(section.value, by, section.over, "mean", sort=False)
        wide.columns = [f"{section.over} {column:,}" if isinstance(column, int) else column for column in wide.columns]
        return wide.reset_index()
    table = table.drop(columns=[column for column in section.drop if column in table])
    if by:
        texts = [column for column in table.select_dtypes(exclude="number") if column not in by]
        table = table.drop(columns=texts).groupby(by, sort=False, dropna=False).mean().reset_index()
    if {"wrong", "placed"} <= set(table):
        table["share wrong"] = table["wrong"] / table["placed"]
    table = table.dropna(axis=1, how="all")
    if section.turned:
        numbers = table.rename(columns=name).T.reset_index()
        return numbers.rename(columns=lambda column: "" if column == "index" else f"run {column + 1}")
    return table


def is_right(taxon, admissible) -> bool:
    """Whether a taxon is among the admissible ones, "A|B"; False where these are not known."""
    return isinstance(admissible, str) and taxon in admissible.split("|")


def adjusting(file: str) -> str:
    """What adjusting does to the taxa of each cohort, from the contingency of taxa without and with it."""
    rows = []
    for cohort, table in pd.read_csv(FOLDER / file).groupby("cohort", sort=False):
        weights, row = table["cpgs"], {"cohort": cohort, "CpGs": table["cpgs"].sum()}
        for way in ("without", "with"):
            placed = table[way] != "Unclassified"
            row[f"share with a taxon, {way}"] = weights[placed].sum() / weights.sum()
            known = placed & table["truth"].notna()
            if known.any():
                right = known & pd.Series(map(is_right, table[way], table["truth"]), table.index)
                row[f"of these right, {way}"] = weights[right].sum() / weights[known].sum()
        row["same in both"] = weights[table["without"] == table["with"]].sum() / weights.sum()
        rows.append(row)
    return markdown(pd.DataFrame(rows))


def real_cohorts(file: str) -> str:
    """The two tables of the real cohorts: figures by cohort, and lists."""
    table = pd.read_csv(FOLDER / file)
    lists = table["figure"].str.contains("→", regex=False)
    main = table[~lists].copy()
    main["figure"] = main["figure"].str.replace("halves: ", "halves, ").str.replace("ages permuted: ", "permuted, ")
    wide = main.pivot_table("value", ["cohort", "n_cpgs", "n_samples"], "figure", sort=False).reset_index()
    listed = table.loc[lists].drop(columns="target").rename(columns={"figure": "list"})
    return f"{markdown(wide)}\n\n{markdown(listed)}"


def page() -> str:
    """The text of docs/benchmarks.md."""
    parts = [HEAD]
    for section in SECTIONS:
        command = f"`.venv/bin/python tests/benchmarks/{section.command}`" if section.command else ""
        parts.append(f"\n## {section.title}\n\n{section.text}\n\n{command}")
        special = {"real_cohorts.csv": real_cohorts, "adjusting.csv": adjusting}.get(section.file)
        rows = special(section.file) if special else markdown(gathered(section))
        comma = ", " if command else ""
        parts.append(f"{comma}[{section.file}](../tests/benchmarks/{section.file})\n\n{rows}\n")
        if section.file == "speed.csv":
            parts.append("\n![Cost against CpGs, samples and cores, beside peers](../tests/benchmarks/speed.png)\n")
    return "".join(parts)


def figures() -> str:
    """The list that README.md quotes: figures of the largest real cohort of random CpGs."""
    table = pd.read_csv(FOLDER / "real_cohorts.csv")
    mine = table[table["cohort"] == "random500"].set_index("figure")

    def share(figure, column="value"):
        value = 100 * mine.loc[figure, column]
        return f"{value:.3g} %" if value >= 1 else f"{value:.2f} %"

    size = mine.iloc[0]
    return (
        f"- **{share('placed')}** of {size['n_cpgs']:,} random CpGs of a real blood cohort ({size['n_samples']:,} "
        f"samples) get a taxon from the tests, {share('placed and clear')} are clear, the others boundary CpGs "
        "([real cohorts](docs/benchmarks.md#real-cohorts)).\n"
        f"- **{share('halves: equal, of clear in both')}** of the CpGs that are clear in both halves of its samples "
        f"get the same taxon in both; of all CpGs {share('halves: equal, of all')} "
        "([real cohorts](docs/benchmarks.md#real-cohorts)).\n"
        f"- **{share('ages permuted: trend')}** get a taxon with a trend, and "
        f"{share('ages permuted: changing spread')} one with a changing spread, where ages are permuted "
        "([limits](docs/limits.md)).\n"
    )


def readme(text: str) -> str:
    """README.md with the present figures between the marks."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + figures() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
