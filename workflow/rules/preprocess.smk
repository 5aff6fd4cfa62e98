"""Raw images to calibrated, masked tile images."""


rule preprocess:
    input:
        raw=PATHS.manifest("fetch", "{survey}", "{block}"),
        masks=lambda w: PATHS.mask_lists(w.survey, w.block),
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
        settings=lambda w: SETTINGS.preprocess(w.survey).text(),
        block=block_number,
        may_fail=may_fail,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --key {wildcards.survey} --block {params.block} --workers {threads}"
        " --raw {input.raw:q} --masks {input.masks:q} --max-failed-fraction {params.may_fail}"
        " --output {output:q} --log {log:q}"
