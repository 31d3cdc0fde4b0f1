"""What a person looks at: the HTML report, the summary for the terminal, and the tables and figures behind them."""

from cpgtaxa.report.gallery import choose_examples, png
from cpgtaxa.report.page import write_report
from cpgtaxa.report.summary import MOST_STAGES, WIDTH, summary_text
from cpgtaxa.report.tables import (
    AGREEMENT_COLUMNS,
    BINS,
    ROWS,
    agreement,
    count_rounds,
    count_taxa,
    flow,
    read_truth,
    reliability,
    stages,
    taxa_after,
)
from cpgtaxa.report.words import percent

__all__ = [
    "AGREEMENT_COLUMNS", "BINS", "MOST_STAGES", "ROWS", "WIDTH", "agreement", "choose_examples", "count_rounds",
    "count_taxa", "flow", "percent", "png", "read_truth", "reliability", "stages", "summary_text", "taxa_after",
    "write_report",
]  # fmt: skip
