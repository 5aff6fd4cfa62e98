"""How complete and how pure the objects are, beside the plain filter's."""


rule validate:
    input:
        settings=settings_file("validate"),
        objects=PATHS.objects(),
        filters=PATHS.filter_objects(),
        combiners=PATHS.combiners(),
        maps=PATHS.all_manifests("scan"),
        tiles=PATHS.survey_manifests("preprocess"),
        known=PATHS.known(),
        truth=PATHS.truth_catalogues(),
    output:
        PATHS.validation(),
    log:
        PATHS.log("validate", "all", "all"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 3000 * attempt,
    params:
        script=script("validate.py"),
        root=root,
        settings=settings_state("validate"),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --output {output:q} --log {log:q}"
