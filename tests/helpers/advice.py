"""Each sentence that tells what to do: how to meet it, words of it, and what it then says to do."""

from dataclasses import dataclass

RUN = "--width 8 --blocks 1 --timesteps 20 --epochs 1 --warmup 0 --sample-every 0 --precision fp32 --device cpu"
ALIASES = {
    "TRAIN": f"train --data-path pics --img-size 8 --multipliers 1 --batch-size 4 {RUN}",
    "PAIRS": f"train --form resshift --data-path pairs --img-size 16 --multipliers 1 2 --batch-size 4 {RUN}",
    "CLASSIFY": f"train-classifier --data-path pics --img-size 8 --multipliers 1 --batch-size 2 {RUN}",
    "CONTROL": "train-control runs/done --data-path pics --batch-size 4 --epochs 1 --warmup 0 --sample-every 0 --precision fp32 --device cpu",
    "SAMPLE": "--n 1 --steps 1 --device cpu --out new.png",
    "RETOUCH": "--device cpu --strength 0.5",
    "CAR": "--control toy-cars-canny --hint-from photo.png",
    "PREPARE": "prepare-pairs pairs/src pairs/gt",
    "EVALUATE": "--n 1 --samples 1 --device cpu",
}


@dataclass(frozen=True)
class Advice:
    """wrong: the command that is refused. said: words of the refusal. then: what to run instead, all of it; mend comes before."""

    wrong: str
    said: str
    then: tuple[str, ...]
    mend: str = ""  # a line of Python, with the folder as the working folder, for "repair it", "add one" and the like
    spoil: str = ""  # … before the refusal


def go(wrong: str, said: str, *then: str, mend: str = "", spoil: str = "") -> Advice:
    """then: left out, it is the same command again."""
    return Advice(wrong, said, then or (wrong,), mend, spoil)
