"""dgmmis beside scikit-learn, pyGMMis and astroML's XDGMM: the same data, the same start, the same numbers."""
