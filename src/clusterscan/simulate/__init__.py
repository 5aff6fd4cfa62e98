"""The simulated sky: four surveys and their catalogues from published physics, cell by cell.

Every object belongs to a *generation cell* (HEALPix order 6) and is drawn from (seed, kind, cell)
alone, so a position's sky is the same whichever images are made. See docs/simulation.md.
"""

SIMULATOR_VERSION = "1"
"""Changes whenever the same settings and seed give another sky."""
