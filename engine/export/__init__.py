"""Ways out: what a person downloads and takes elsewhere."""
