"""From sky surveys to a catalogue of galaxy clusters, as one Snakemake workflow."""

__version__ = "0.1.0"
