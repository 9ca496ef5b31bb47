"""Published claims beside our simulation: one page a paper, with its digitized figures."""
