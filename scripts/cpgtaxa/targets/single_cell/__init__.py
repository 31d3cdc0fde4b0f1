"""Methylation of single cells from DNA sequence and neighbouring CpGs (DeepCpG), beside its peers."""
