"""The training set to one network a job: weights, model card, history, plots."""


rule train:
    input:
        settings=settings_file("train", "survey", "model"),
        training_sets=lambda w: PATHS.training_sets(w.survey, w.model),
    output:
        card=PATHS.model("{survey}", "{model}"),
        weights=PATHS.model_file("{survey}", "{model}", "weights"),
        history=PATHS.model_file("{survey}", "{model}", "history"),
        metrics=PATHS.model_file("{survey}", "{model}", "metrics"),
        predictions=PATHS.model_file("{survey}", "{model}", "predictions"),
    log:
        PATHS.log("train", "{survey}-{model}", "all"),
    conda:
        ENVIRONMENT
    threads: lambda w: CFG.train_settings(w.survey, w.model).threads
    resources:
        mem_mb=lambda w, attempt: 4000 * attempt,
        gpu=lambda w: CFG.execution.gpus_per_job,
    params:
        script=script("train.py"),
        root=root,
        settings=settings_state("train", "survey", "model"),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {input.settings:q}"
        " --key {wildcards.survey}/{wildcards.model} --training-sets {input.training_sets:q}"
        " --output {output.card:q} --log {log:q}"
