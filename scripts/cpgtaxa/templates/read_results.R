# Reads the taxonomy and the main statistics of every CpG into one data frame, makes a table and draws a figure.
#
#   Rscript read_results.R                   # in any folder; the figure lies beside this file
#   source("results/export/read_results.R")  # from R: `cpgs` is the data frame
#
# Base R is enough. With the package data.table (and R.utils) a whole array is read much faster; with arrow, all
# statistics are read and not the main ones alone. What the columns mean: supplementary_legend.csv.

# The ten taxa in the order of the networks' outputs, each in its colour (distinct with every common colour blindness).
taxon_colours <- c(
@COLOURS@
)
taxa <- names(taxon_colours)

# The folder of this file: as run by Rscript, as sourced, or else the working directory.
results_folder <- function() {
  started <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  sourced <- unlist(lapply(sys.frames(), function(frame) frame$ofile))
  path <- c(rev(sourced), gsub("~+~", " ", started, fixed = TRUE))
  path <- path[basename(path) == "read_results.R"]
  if (length(path) > 0) dirname(path[1]) else "."
}

read_results <- function(folder = results_folder()) {
  path <- file.path(folder, "supplementary_table.csv.gz")
  if (requireNamespace("data.table", quietly = TRUE) && requireNamespace("R.utils", quietly = TRUE)) {
    cpgs <- data.table::fread(path, data.table = FALSE, na.strings = "")
  } else {
    # Telling the types makes read.csv several times faster.
    columns <- names(read.csv(path, nrows = 1, check.names = FALSE))
    text <- c("cpg", "chrom", "gene", "island", "flags", "taxon", "source", "second_taxon", "boundary",
              "criterion", "reason", "detail", "disagrees", "shape", "cause",
              "spread_shape")
    types <- ifelse(columns %in% text, "character", "numeric")
    # Only empty fields are missing, so that a CpG may be called NA; quotes are the CSV's own, # is no comment.
    cpgs <- read.csv(path, colClasses = types, na.strings = "", check.names = FALSE, comment.char = "")
  }
  statistics <- file.path(folder, "..", "statistics", "statistics.parquet")
  if (requireNamespace("arrow", quietly = TRUE) && file.exists(statistics)) {
    all <- as.data.frame(arrow::read_parquet(statistics))
    stopifnot(identical(as.character(all$cpg), as.character(cpgs$cpg)))  # both have the cohort's order
    cpgs[names(all)[-1]] <- all[-1]
  }
  cpgs$taxon <- factor(cpgs$taxon, levels = taxa)
  cpgs$second_taxon <- factor(cpgs$second_taxon, levels = setdiff(taxa, "Unclassified"))
  cpgs
}

# Left: CpGs per taxon. Right: how much each CpG changes with age, against its mean.
plot_results <- function(cpgs, most = 50000) {
  old <- par(mfrow = c(1, 2), mar = c(4.2, 7.5, 2.5, 1), las = 1, cex = 0.9)
  on.exit(par(old))
  counts <- rev(table(cpgs$taxon))
  at <- barplot(counts, horiz = TRUE, col = taxon_colours[names(counts)], border = NA, xlab = "CpGs", axes = FALSE,
                xlim = c(0, 1.2 * max(counts)), main = "CpGs per taxon")
  ticks <- pretty(c(0, max(counts)), 4)
  axis(1, at = ticks, labels = format(ticks, big.mark = ",", scientific = FALSE, trim = TRUE))
  text(counts, at, format(as.integer(counts), big.mark = ",", trim = TRUE), pos = 4, cex = 0.8)
  par(mar = c(4.2, 4.5, 2.5, 1))
  shown <- if (nrow(cpgs) > most) cpgs[round(seq(1, nrow(cpgs), length.out = most)), ] else cpgs
  shown <- shown[order(shown$taxon != "Unclassified"), ]  # grey below the colours
  plot(shown$mean, shown$core_effect, pch = 16, cex = if (nrow(shown) > 5000) 0.3 else 0.7,
       col = taxon_colours[as.character(shown$taxon)], xlim = c(0, 1), xlab = "mean beta",
       ylab = "", main = "Change of beta over the central 90 % of ages", cex.main = 0.95)
  abline(h = 0, col = "#00000055")
}

cpgs <- read_results()
print(as.data.frame(table(taxon = cpgs$taxon, source = cpgs$source), responseName = "CpGs"))
print(aggregate(cbind(mean, sd, core_effect) ~ taxon, data = cpgs, FUN = median), digits = 3)
if (interactive()) {
  plot_results(cpgs)
} else {
  figure <- file.path(results_folder(), if (capabilities("png")) "taxonomy_in_R.png" else "taxonomy_in_R.pdf")
  if (capabilities("png")) png(figure, width = 1500, height = 750, res = 130) else pdf(figure, width = 11, height = 5.5)
  plot_results(cpgs)
  invisible(dev.off())
  cat("figure:", figure, "\n")
}
