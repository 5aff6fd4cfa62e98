"""Raw images of each block."""


rule fetch:
    input:
        settings=settings_file("fetch", "survey"),
        sources=lambda w: RUN.source(PATHS.sources(w.survey, w.block)),
    output:
        PATHS.manifest("fetch", "{survey}", "{block}"),
    log:
        PATHS.log("fetch", "{survey}", "{block}"),
    retries: 1
    conda:
        ENVIRONMENT
    threads: CFG.execution.workers
    resources:
        mem_mb=lambda w, threads, attempt: 1500 * threads * attempt,
        download_slots=1,
    params:
        script=script("fetch.py"),
        root=root,
        settings=settings_state("fetch", "survey"),
        state=lambda w: RUN.source_state(PATHS.sources(w.survey, w.block)),
        block=block_number,
        may_fail=may_fail,
        download=download_settings,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --download {params.download:q} --key {wildcards.survey} --block {params.block} --workers {threads}"
        " --sources {input.sources:q} --max-failed-fraction {params.may_fail}"
        " --output {output:q} --log {log:q}"
