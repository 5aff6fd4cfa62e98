"""Raw images to calibrated, masked tile images."""


rule preprocess:
    input:
        settings=settings_file("preprocess", "survey"),
        raw=PATHS.manifest("fetch", "{survey}", "{block}"),
        masks=lambda w: [
            p for m in PATHS.mask_lists(w.survey, w.block) for p in RUN.source(m)
        ],
    output:
        PATHS.manifest("preprocess", "{survey}", "{block}"),
    log:
        PATHS.log("preprocess", "{survey}", "{block}"),
    conda:
        ENVIRONMENT
    threads: CFG.execution.workers
    resources:
        mem_mb=lambda w, threads, attempt: 1500 * threads * attempt,
    params:
        script=script("preprocess.py"),
        root=root,
        settings=settings_state("preprocess", "survey"),
        block=block_number,
        may_fail=may_fail,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --key {wildcards.survey} --block {params.block} --workers {threads}"
        " --raw {input.raw:q} --masks {input.masks:q} --max-failed-fraction {params.may_fail}"
        " --output {output:q} --log {log:q}"
