"""Known biology: enrichment of taxa with published CpGs and genomic context, and scores of samples."""
