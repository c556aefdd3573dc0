"""How long a job takes, as a range: operations that the package counts, divided by what such a GPU is reported to reach. No time was measured."""

from types import SimpleNamespace

import build

from ddpm_utils.training.plan import plan_sessions

WEEK = 30  # GPU hours


def network_of(job: dict):
    """The UNetConfig that `train` would make of the job's flags."""
    from ddpm_utils.commands.train import network_for, usual_settings

    args = build.train_arguments(job["train"], job["epochs"])
    data = SimpleNamespace(size=args.img_size, channels=3, classes=range(job["classes"]))
    return network_for(args, data, usual_settings(args, args.img_size, job["images"]))


def counted(job: dict) -> tuple[float, int]:
    """(operations of one training image, parameters of the network)."""
    import torch

    from ddpm_utils.training.flops import TRAINING, forward_flops
    from ddpm_utils.unet import UNet

    config = network_of(job)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in UNet(config).parameters())
    return TRAINING * forward_flops(config), parameters


def seconds_per_epoch(job: dict, flop: float) -> tuple[float, float]:
    """(fast, slow): an epoch, if its GPUs reach the upper or the lower end of job["tflops"]."""
    slow, fast = (flop * job["images"] / (job["gpus"] * tflops * 1e12) for tflops in job["tflops"])
    return fast, slow


def sessions_of(job: dict, seconds: float, parameters: int) -> list:
    """The sessions of the whole run, if an epoch takes so many seconds."""
    train = job["train"]
    return plan_sessions(
        epochs=job["epochs"],
        seconds_per_epoch=seconds,
        session_hours=job["max_hours"],
        weekly_hours=WEEK,
        disk_gb=job["max_disk_gb"],
        parameters=parameters,
        keep=train.get("keep", 2),
        averages=len(train.get("ema-sigmas", [0])),
        snapshot_every=train.get("snapshot-every", 0),
    )


def show_plan(job: dict, measured: float | None = None) -> None:
    """Sessions, hours and disk of the whole run; the table holds for the slow end. measured: seconds an epoch, in place of the estimate."""
    flop, parameters = counted(job)
    fast, slow = (measured, measured) if measured else seconds_per_epoch(job, flop)
    plans = [sessions_of(job, seconds, parameters) for seconds in (fast, slow)]
    hours = [sum(s.hours for s in plan) for plan in plans]
    print(
        f"{job['job']}: {job['epochs']} epochs of {job['images']:,} images on {job['machine_shape']}, {parameters / 1e6:.1f} million parameters"
    )
    print(f"{slow:.3g} s an epoch, as measured in the sessions so far" if measured else in_words(job, flop, fast, slow))
    print(f"{'session':>8}{'epochs':>12}{'hours':>8}{'week':>6}{'disk GB':>9}")
    for s in plans[1]:
        print(f"{s.number:>8}{f'{s.first_epoch}-{s.last_epoch}':>12}{s.hours:>8.2f}{s.week:>6}{s.disk_gb:>9.2f}")
    sessions = span(*(len(plan) for plan in plans), "session")
    if measured:
        print(f"{hours[0]:.1f} GPU hours in {sessions}")
    else:
        print(f"{hours[0]:.1f} to {hours[1]:.1f} GPU hours in {sessions}; the table is for the slow end, the first session measures")
    if plans[1][-1].week > 1:
        print(
            f"Kaggle lends {WEEK} GPU hours a week: {'' if measured else 'at the slow end '}this run goes on in week {plans[1][-1].week}; "
            "new hours come on Saturday at 00:00 UTC"
        )


def span(least: int, most: int, what: str) -> str:
    """ "1 session", "2 to 4 sessions"."""
    return f"{least} {what}{'s' if least > 1 else ''}" if least == most else f"{least} to {most} {what}s"


def in_words(job: dict, flop: float, fast: float, slow: float) -> str:
    """Where an estimate comes from."""
    gpus = f"{job['gpus']} GPU{'s' if job['gpus'] > 1 else ''} of {job['tflops'][0]:g} to {job['tflops'][1]:g} TFLOP/s"
    return (
        f"{flop / 1e9:.1f} GFLOP an image, {flop * job['images'] / 1e15:.3g} PFLOP an epoch: {fast:.0f} to {slow:.0f} s on {gpus} "
        "(reported of others; not measured here)"
    )
