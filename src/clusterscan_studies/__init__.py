"""Repeat published studies: data sets, experiments, one table and one report."""
