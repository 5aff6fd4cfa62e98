"""clusterscan: from sky surveys to a catalogue of galaxy clusters.

`snakemake --cores 2` runs config.yaml; `--configfile FILE` runs another configuration instead.
The stages are in workflow/rules, one file a stage, in the order in which data flows.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

PROJECT = Path(workflow.basedir)


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/known.smk"
include: "workflow/rules/preprocess.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/scan.smk"
include: "workflow/rules/detect.smk"
include: "workflow/rules/merge.smk"
include: "workflow/rules/validate.smk"
include: "workflow/rules/selection.smk"
include: "workflow/rules/publish.smk"


localrules:
    all,
    training_set,


rule all:
    default_target: True
    input:
        PATHS.everything(RUN.pinned),
