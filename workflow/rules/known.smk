"""The reference catalogues in our own form, and the known ones united."""


rule fetch_catalogue:
    input:
        settings=settings_file("catalogue", "name"),
        source=lambda w: RUN.source(PATHS.catalogue_source(w.name)),
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
        settings=settings_state("catalogue", "name"),
        state=lambda w: RUN.source_state(PATHS.catalogue_source(w.name)),
    shell:
        "python {params.script:q} --root {params.root:q}"
        " --settings {input.settings:q} --key {wildcards.name}"
        " --output {output:q} --log {log:q}"


rule known:
    input:
        settings=settings_file("known"),
        catalogues=PATHS.known_catalogues(),
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
        settings=settings_state("known"),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --output {output:q} --log {log:q}"
