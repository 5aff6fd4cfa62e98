"""What the chain finds of model clusters put into its images, and on skies without any."""


rule probe:
    input:
        settings=settings_file("probe", "probe"),
        tiles=lambda w: PATHS.probe_images(w.probe, w.block),
        models=lambda w: PATHS.probe_models(w.probe),
    output:
        PATHS.probe("{probe}", "{block}"),
    log:
        PATHS.log("probe", "{probe}", "{block}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 2500 * attempt,
        gpu=lambda w: CFG.execution.gpus_per_job,
    params:
        script=script("probe.py"),
        root=root,
        settings=settings_state("probe", "probe"),
        block=block_number,
        may_fail=may_fail,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --key {wildcards.probe} --block {params.block} --tiles {input.tiles:q}"
        " --max-failed-fraction {params.may_fail}"
        " --output {output:q} --log {log:q}"


rule selection:
    input:
        settings=settings_file("selection"),
        probes=PATHS.all_probes(),
        objects=PATHS.objects(),
        combiners=PATHS.combiners(),
        candidates=PATHS.all_manifests("detect"),
        maps=PATHS.all_manifests("scan"),
    output:
        selection=PATHS.selection(),
        randoms=PATHS.randoms(),
    log:
        PATHS.log("selection", "all", "all"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 3000 * attempt,
    params:
        script=script("selection.py"),
        root=root,
        settings=settings_state("selection"),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --output {output.selection:q} --log {log:q}"
