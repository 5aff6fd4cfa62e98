"""Tile images and a network (or the plain filter) to probability map tiles."""


rule scan:
    input:
        settings=settings_file("scan", "survey", "model"),
        tiles=lambda w: PATHS.images(w.survey, w.model, w.block),
        model=lambda w: PATHS.trained(w.survey, w.model),
    output:
        PATHS.manifest("scan", "{survey}/{model}", "{block}"),
    log:
        PATHS.log("scan", "{survey}-{model}", "{block}"),
    conda:
        ENVIRONMENT
    threads: lambda w: CFG.surveys[CFG.surveys_of(w.survey, w.model)[0]].scan.threads
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        gpu=lambda w: CFG.execution.gpus_per_job,
    params:
        script=script("scan.py"),
        root=root,
        settings=settings_state("scan", "survey", "model"),
        block=block_number,
        may_fail=may_fail,
        read_ahead=read_ahead,
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --key {wildcards.survey}/{wildcards.model} --block {params.block}"
        " --tiles {input.tiles:q} --model {input.model:q}"
        " --max-failed-fraction {params.may_fail} --read-ahead {params.read_ahead}"
        " --output {output:q} --log {log:q}"
