"""The columns of results/patterns.parquet, and the words that stand in them."""

DESCRIPTION = {
    "cpg": "id",
    "shape": "how the level changes with age: none, linear, saturating (mostly before the change point), late_onset "
    "(mostly after it), wave (turns back), step, or undecided",
    "shape_p": "p-value that the trend is a line",
    "change_point": "age (years) where the trend changes; of a wave its largest turn",
    "change_point_low": "lower end of its 95 % interval, given the shape; holds 91 to 97 % of planted change points",
    "change_point_high": "upper end",
    "sex_divergent": "difference of the slopes of the sexes, beta per year: the second in the order of the alphabet "
    "less the first (M − F)",
    "sex_q": "p-value that there is none, adjusted over all CpGs (Benjamini–Hochberg)",
    "cause": "why a CpG called Bi… or Tri… has bands: batch, sex, SNP (they follow nothing in the sheet, and are "
    "possible for genotypes), imprinting (by your list `imprinted`, and one band near 0.5) or unknown; empty for other "
    "CpGs",
    "cause_p": "of batch and sex: p-value that the bands do not go with the column; of SNP: of Hardy–Weinberg "
    "proportions (empty where only a dominant effect fits, which does with any shares); of imprinting: of these "
    "proportions with the band near 0.5 as heterozygotes",
    "replication": "probability that another cohort of as many people of the same ages gives the CpG its taxon; empty "
    "of Unclassified CpGs and of labels that were given",
    "replication_low": "lower end of its 95 % interval, given the errors of the CpG's own numbers; holds 85 % of "
    "the true chances of simulated CpGs",
    "replication_high": "upper end",
    "spread_shape": "experimental: how the spread around the trend changes with age, in the words of `shape`: linear "
    "is the same ratio or the same difference each year; curves that adjusting over all CpGs (Benjamini–Hochberg, 5 %) "
    "takes away, and all curves of fewer than 300 values, are undecided. Of 600 samples, waves and steps of 3 times "
    "the sd are found, saturating and late_onset from 9 on",
    "spread_shape_p": "p-value that the spread, or its logarithm, is a line of age",
    "spread_change_point": "age (years) where the spread changes; of a wave its largest turn",
    "spread_change_point_low": "lower end of its 95 % interval, given the shape; holds 88 to 96 % of planted change "
    "points",
    "spread_change_point_high": "upper end",
}
"""One line on each column."""

SHAPES = {
    "none": "no change with age",
    "linear": "the same change at every age",
    "saturating": "most of the change comes before the change point",
    "late_onset": "most of the change comes after the change point",
    "wave": "the change turns back",
    "step": "a jump at the change point",
    "undecided": "a change, of which the shape is not to be seen",
}
"""What the values of `shape` mean."""
CAUSES = {
    "batch": "the bands go with a technical column, or the chip in the sample ids: the taxon says nothing of ageing",
    "sex": "the bands are the sexes",
    "SNP": "the bands go with nothing in the sheet, and their shares are possible for genotypes",
    "imprinting": "the CpG is in your list `imprinted`, and the people of the band near 0.5 are not heterozygotes",
    "unknown": "none of these",
}
"""What the values of `cause` mean; only CpGs called Bi… or Tri… have one."""
