"""A published study repeated: `clusterscan study NAME` runs this, quick or in full.

By hand: `snakemake -s workflow/study.smk --configfile resources/studies/NAME.yaml --cores 2`, with
`--config form=quick` for the reduced form. Base runs must then have their examples already.
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

from clusterscan_studies.config.load import load_study
from clusterscan.core.errors import ClusterscanError
from clusterscan_studies.layout import StudyPaths
from clusterscan_studies.layout import StudySettings
from clusterscan_studies.sources import sync_study

min_version("9.0")

if len(workflow.overwrite_configfiles) != 1:
    sys.exit("\nname one study: --configfile resources/studies/NAME.yaml\n")

try:
    FORM = load_study(
        workflow.overwrite_configfiles[0],
        quick=workflow.config_settings.config.get("form") == "quick",
    )
    if workflow.is_main_process:  # jobs read this file too, and write nothing
        sync_study(FORM)
except ClusterscanError as error:
    sys.exit(f"\n{error}\n")

ROOT = FORM.root.as_posix()
PATHS = StudyPaths(FORM)
SETTINGS = StudySettings(FORM)
# Beside the main workflow's files, whichever folder this one is started from.
SCRIPTS = Path(workflow.current_basedir).resolve() / "scripts"
ENVIRONMENT = str(SCRIPTS.parent.parent / "envs" / "cpu.yaml")  # used with --sdm conda


def script(name):
    """Return a params function that gives a script's path.

    It takes `input`, so Snakemake counts it as derived: moving the checkout reruns nothing.
    """
    return lambda wildcards, input: SCRIPTS / name


def root(wildcards, input):
    """Return the study's folder."""
    return ROOT


def of_experiment(name):
    """Return an input function of an experiment."""
    return lambda wildcards: PATHS.needs(wildcards.experiment)[name]


wildcard_constraints:
    dataset="[A-Za-z0-9_]+",
    experiment="[A-Za-z0-9_]+",
    extra="[a-z_]+",


localrules:
    all,


rule all:
    default_target: True
    input:
        PATHS.everything(),


rule examples:
    input:
        PATHS.source("{dataset}"),
    output:
        PATHS.examples("{dataset}"),
    log:
        PATHS.log("examples", "{dataset}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
    params:
        script=script("study_examples.py"),
        root=root,
        settings=lambda w: SETTINGS.examples(w.dataset),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --key {wildcards.dataset} --source {input:q} --output {output:q} --log {log:q}"


rule experiment:
    input:
        examples=of_experiment("examples"),
        test=of_experiment("test"),
        start=of_experiment("start"),
    output:
        PATHS.experiment("{experiment}"),
    log:
        PATHS.log("experiment", "{experiment}"),
    conda:
        ENVIRONMENT
    threads: lambda w: FORM.study.training(w.experiment).threads
    resources:
        mem_mb=lambda w, attempt: 6000 * attempt,
        gpu=lambda w: FORM.study.gpus_per_job,
    params:
        script=script("study_experiment.py"),
        root=root,
        settings=lambda w: SETTINGS.experiment(w.experiment),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --key {wildcards.experiment} --examples {input.examples:q} --test {input.test:q}"
        " --start-from {input.start:q} --output {output:q} --log {log:q}"


rule extra:
    input:
        lambda w: PATHS.extra_needs(w.extra),
    output:
        PATHS.extra_page("{extra}"),
    log:
        PATHS.log("extra", "{extra}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        gpu=lambda w: FORM.study.gpus_per_job,
    params:
        script=script("study_extra.py"),
        root=root,
        settings=lambda w: SETTINGS.extra(w.extra),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --key {wildcards.extra} --output {output:q} --log {log:q}"


rule report:
    input:
        examples=PATHS.all_examples(),
        experiments=PATHS.all_experiments(),
        extras=PATHS.all_extras(),
    output:
        PATHS.products()[:-1],
        summary=PATHS.products()[-1],
    log:
        PATHS.log("report", "all"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
    params:
        script=script("study_report.py"),
        root=root,
        settings=lambda w: SETTINGS.report(),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --output {output.summary:q} --log {log:q}"
