"""Measures of classifiers, their curves, calibration, figures, galleries and tables."""
