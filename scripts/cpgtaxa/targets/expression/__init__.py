"""Gene expression from the methylation of the CpGs around each gene (DeepMethyGene), beside its peers."""
