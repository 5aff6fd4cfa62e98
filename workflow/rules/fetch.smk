"""Raw images of each block."""


rule fetch:
    input:
        PATHS.sources("{survey}", "{block}"),
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
        settings=lambda w: SETTINGS.fetch(w.survey).text(),
        block=block_number,
        may_fail=may_fail,
        download=download_settings,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --download {params.download:q} --key {wildcards.survey} --block {params.block} --workers {threads}"
        " --sources {input:q} --max-failed-fraction {params.may_fail}"
        " --output {output:q} --log {log:q}"
