"""Candidates of all models and the known catalogues to one list of objects."""


rule merge:
    input:
        settings=settings_file("merge"),
        candidates=PATHS.all_manifests("detect"),
        maps=PATHS.all_manifests("scan"),
        models=PATHS.all_models(),
        known=PATHS.known(),
        catalogues=PATHS.merged_catalogues(),
    output:
        objects=PATHS.objects(),
        filters=PATHS.filter_objects(),
        forced=PATHS.forced(),
        combiners=PATHS.combiners(),
    log:
        PATHS.log("merge", "all", "all"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 3000 * attempt,
    params:
        script=script("merge.py"),
        root=root,
        settings=settings_state("merge"),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --output {output.objects:q} --log {log:q}"
