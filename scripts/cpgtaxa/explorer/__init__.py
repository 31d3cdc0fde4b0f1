"""The page in which every CpG can be looked at: what it holds, how that is packed, how page and folder are written."""
