"""The products: tables, finished HiPS maps, report, summary, and the folder to hand on."""


rule publish:
    input:
        settings=settings_file("publish"),
        objects=PATHS.objects(),
        forced=PATHS.forced(),
        validation=PATHS.validation(),
        selection=PATHS.selection(),
        randoms=PATHS.randoms(),
        maps=PATHS.all_manifests("scan"),
        tiles=PATHS.survey_manifests("preprocess"),
        models=PATHS.all_models(),
        known=PATHS.known(),
        histories=PATHS.all_model_files("history", "metrics"),
        catalogues=PATHS.all_catalogues(),
        mocs=PATHS.flag_mocs(),
    output:
        [shown(path) for path in PATHS.products()[:-1]],
        summary=shown(PATHS.products()[-1]),
    log:
        PATHS.log("publish", "all", "all"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 3000 * attempt,
    params:
        script=script("publish.py"),
        root=root,
        settings=settings_state("publish"),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --output {output.summary:q} --log {log:q}"
