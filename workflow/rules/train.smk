"""The training set to one network a job: weights, model card, history, plots."""


rule train:
    input:
        lambda w: PATHS.training_sets(w.survey, w.model),
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
        settings=lambda w: SETTINGS.train(w.survey, w.model).text(),
    shell:
        "python {params.script:q} --root {params.root:q} --settings {params.settings:q}"
        " --key {wildcards.survey}/{wildcards.model} --training-sets {input:q}"
        " --output {output.card:q} --log {log:q}"
