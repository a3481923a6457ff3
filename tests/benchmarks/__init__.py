"""Benchmarks: ratios against peers in the same run, with their dispersion. `make bench`."""
