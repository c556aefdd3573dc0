"""What sentences of the commands that use what was trained tell to do; see advice.py."""

from advice import go

ROWS = [
    go(
        "ema runs/done --sigma 0.1",
        "; train with --ema-sigmas 0.05 0.1 --snapshot-every N",
        "TRAIN --epochs 3 --ema-sigmas 0.05 0.1 --snapshot-every 1 --out x",
        "ema x --sigma 0.1",
    ),
    go(
        "metrics new digits --features digits-judge --device cpu",
        "`sample --images FOLDER` writes one",
        "sample digits --n 10 --steps 1 --device cpu --images new",
        "metrics new digits --features digits-judge --device cpu",
    ),
    go(
        "metrics flat digits --features digits-judge --device cpu --n 100",
        "; lower --n, or add images",
        "metrics flat digits --features digits-judge --device cpu --n 8",
    ),
    go(
        "metrics mixed flat --device cpu",
        "; repair or remove it",
        spoil="shutil.copytree('flat', 'mixed'); Path('mixed/0.png').write_text('x')",
        mend="Path('mixed/0.png').unlink()",
    ),
    go("watch runs/none", "there is no folder 'runs/none'; name the --out of a run", "watch runs/done"),
    go("watch flat", "it has neither run.json nor log.jsonl; name the --out of a run", "watch runs/done"),
    go("sample runs/plain --label 1 SAMPLE", "; leave --label 1 out", "sample runs/plain SAMPLE"),
    go("sample toy-cars --strength 1 SAMPLE", "; put it behind a --control", "sample toy-cars CAR --strength 1 SAMPLE"),
    go(
        "sample toy-cars CAR --strength 1 --strength 0.5 SAMPLE",
        "has --strength twice; leave one out",
        "sample toy-cars CAR --strength 1 SAMPLE",
    ),
    go(
        "sample toy-cars --control toy-cars-depth --hint-from photo.png SAMPLE",
        "; pass it as --hint-image",
        "sample toy-cars --control toy-cars-depth --hint-image small.png SAMPLE",
    ),
    go(
        "sample toy-cars --control toy-cars-canny --hint-image photo.png SAMPLE",
        "; make it anew at that size, or use --hint-from with the image that it was drawn from",
        "sample toy-cars CAR SAMPLE",
        "sample toy-cars --control toy-cars-canny --hint-image small.png SAMPLE",
    ),
    go(
        "sample toy-cars --control toy-cars-segmentation --hint-image colour.png SAMPLE",
        "one number a pixel; 'colour.png' is RGB",
        "sample toy-cars --control toy-cars-segmentation --hint-image zeros.png SAMPLE",
    ),
    go(
        "sample toy-cars --control toy-cars-canny --hint-from phot.png SAMPLE",
        "; it must be the name of a file",
        "sample toy-cars CAR SAMPLE",
    ),
    go(
        "sample runs/done --control toy-cars-canny --hint-from photo.png SAMPLE",
        "; load the model that it was trained on",
        "sample toy-cars CAR SAMPLE",
    ),
    go(
        "sample digits --classifier digits-classifier --bad-model digits-early SAMPLE",
        "not both; leave one out",
        "sample digits --classifier digits-classifier SAMPLE",
        "sample digits --bad-model digits-early SAMPLE",
    ),
    go(
        "sample digits --bad-model digits-early --guidance-rescale 0.5 SAMPLE",
        "with a bad model or a classifier it must be 0",
        "sample digits --bad-model digits-early --guidance-rescale 0 SAMPLE",
    ),
    go("sample runs/retoucher SAMPLE", "; use `python -m ddpm_utils retouch`", "retouch runs/retoucher photo.png --out y.png RETOUCH"),
    go(
        "sample runs/cut/state-00000002.pt SAMPLE",
        "; the model of its run is 'runs/cut/model.safetensors'",
        "sample runs/cut/model.safetensors SAMPLE",
    ),
    go(
        "sample runs SAMPLE",
        "; name a file, or one of the shipped clothes",
        "sample runs/done/model.safetensors SAMPLE",
        "sample digits SAMPLE",
    ),
    go(
        "sample digit SAMPLE",
        "no folder of a run and no shipped model 'digit'",
        "sample digits SAMPLE",
        "TRAIN --out x",
        "sample x SAMPLE",
    ),
    go("sample retouch SAMPLE", "here something is needed that draws images; those shipped are clothes", "sample digits SAMPLE"),
    go(
        "sample runs/classifier/classifier.safetensors SAMPLE",
        "(it is a classifier, for `sample --classifier` and `metrics --features`); train one with `python -m ddpm_utils train`",
        "TRAIN --out x",
        "sample x SAMPLE",
    ),
    go(
        "sample runs/done SAMPLE",
        "don't match their checksum; restore a whole copy of it",
        spoil="shutil.copy('runs/done/model.safetensors', 'copy'); flip('runs/done/model.safetensors')",
        mend="shutil.copy('copy', 'runs/done/model.safetensors')",
    ),
    go("sample digits SAMPLE --out file/new.png", "because 'file' is a file; choose another name", "sample digits SAMPLE"),
    go("sample digits SAMPLE --film new.png", "; give one of them another name", "sample digits SAMPLE --film film.png"),
    go(
        "evaluate retouch runs/retoucher --data-path wrinkles:10 EVALUATE",
        "; choose one with --img-size",
        "evaluate retouch runs/retoucher --data-path wrinkles:10 EVALUATE --img-size 32",
    ),
    go(
        "retouch runs/done photo.png --out y.png RETOUCH",
        "(train --form resshift)",
        "PAIRS --out x",
        "retouch x photo.png --out y.png RETOUCH",
    ),
]
