"""Reference catalogues and tile images (or stamps) to labelled examples."""


rule sample:
    input:
        settings=settings_file("sample", "survey"),
        tiles=PATHS.manifest("preprocess", "{survey}", "{block}"),
        known=lambda w: PATHS.labels(w.survey),
        listed=lambda w: PATHS.listed(w.survey),
        stamps=lambda w: [p for s in PATHS.stamps(w.survey) for p in RUN.source(s)],
    output:
        PATHS.manifest("sample", "{survey}", "{block}"),
    log:
        PATHS.log("sample", "{survey}", "{block}"),
    conda:
        ENVIRONMENT
    threads: CFG.execution.workers
    resources:
        mem_mb=lambda w, threads, attempt: 1500 * threads * attempt,
    params:
        script=script("sample.py"),
        root=root,
        settings=settings_state("sample", "survey"),
        state=lambda w: [RUN.source_state(s) for s in PATHS.stamps(w.survey)],
        block=block_number,
        may_fail=may_fail,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --key {wildcards.survey} --block {params.block} --workers {threads}"
        " --tiles {input.tiles:q} --known {input.known:q} --listed {input.listed:q}"
        " --stamps {input.stamps:q}"
        " --max-failed-fraction {params.may_fail}"
        " --output {output:q} --log {log:q}"


rule training_set:
    input:
        settings=settings_file("training_set", "survey"),
        samples=lambda w: PATHS.manifests("sample", w.survey),
        tiles=lambda w: PATHS.manifests("preprocess", w.survey),
        catalogues=lambda w: PATHS.labels(w.survey) + PATHS.known_catalogues(),
    output:
        PATHS.training_set("{survey}"),
    log:
        PATHS.log("training_set", "{survey}", "all"),
    wildcard_constraints:
        survey="|".join(s for s in CFG.surveys if s not in RUN.pinned) or "(?!)",
    conda:
        ENVIRONMENT
    params:
        script=script("training_set.py"),
        root=root,
        settings=settings_state("training_set", "survey"),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --key {wildcards.survey} --samples {input.samples:q} --tiles {input.tiles:q}"
        " --catalogues {input.catalogues:q}"
        " --output {output:q} --log {log:q}"
