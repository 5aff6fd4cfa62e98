"""How complete and how pure the objects are, beside the plain filter's."""


rule validate:
    input:
        objects=PATHS.objects(),
        filters=PATHS.filter_objects(),
        combiners=PATHS.combiners(),
        maps=PATHS.all_manifests("scan"),
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
        settings=lambda w: SETTINGS.validate().text(),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --output {output:q} --log {log:q}"
