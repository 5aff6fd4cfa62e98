"""The workflow is workflow/Snakefile; this file lets `snakemake` find it from here."""


include: "workflow/Snakefile"
