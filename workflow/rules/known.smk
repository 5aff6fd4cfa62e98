"""The reference catalogues in our own form, and the known ones united."""


rule fetch_catalogue:
    input:
        PATHS.catalogue_source("{name}"),
    output:
        PATHS.catalogue("{name}"),
    log:
        PATHS.log("catalogue", "{name}", "all"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        download_slots=1,
    params:
        script=script("fetch_catalogue.py"),
        root=root,
        settings=lambda w: SETTINGS.catalogue(w.name).text(),
    shell:
        "python {params.script:q} --root {params.root:q}"
        " --settings {params.settings:q} --key {wildcards.name}"
        " --output {output:q} --log {log:q}"


rule known:
    input:
        PATHS.known_catalogues(),
    output:
        PATHS.known(),
    log:
        PATHS.log("known", "all", "all"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
    params:
        script=script("known.py"),
        root=root,
        settings=lambda w: SETTINGS.known().text(),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --output {output:q} --log {log:q}"
