"""Map tiles of a block and of the blocks it touches to the block's candidates."""


rule detect:
    input:
        settings=settings_file("detect", "survey", "model"),
        own=PATHS.manifest("scan", "{survey}/{model}", "{block}"),
        around=lambda w: PATHS.touching("scan", f"{w.survey}/{w.model}", w.block),
    output:
        PATHS.manifest("detect", "{survey}/{model}", "{block}"),
    log:
        PATHS.log("detect", "{survey}-{model}", "{block}"),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=lambda w, attempt: 1500 * attempt,
    params:
        script=script("detect.py"),
        root=root,
        settings=settings_state("detect", "survey", "model"),
        block=block_number,
        may_fail=may_fail,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --key {wildcards.survey}/{wildcards.model} --block {params.block}"
        " --maps {input.own:q} --around {input.around:q}"
        " --max-failed-fraction {params.may_fail}"
        " --output {output:q} --log {log:q}"
