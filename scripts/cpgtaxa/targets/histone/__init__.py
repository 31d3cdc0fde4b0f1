"""Target `histone`: whether a gene is expressed highly, from histone marks around its start (GeneNet and its peers)."""
