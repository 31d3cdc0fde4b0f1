"""The page in which every CpG can be looked at: what is chosen, how it is packed, and how page and folder are written."""
