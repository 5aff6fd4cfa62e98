"""Published studies repeated: data sets, experiments, one table, one report."""
