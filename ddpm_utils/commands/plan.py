"""Show how a long run is cut into sessions within hours a session, hours a week and gigabytes of disk."""

import argparse

from ddpm_utils.training.plan import MACHINES, plan_sessions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, required=True, help="of the whole run")
    parser.add_argument("--seconds-per-epoch", type=float, required=True, help="measured on that machine; log.jsonl tells images a second")
    parser.add_argument("--session-hours", type=float, default=12.0, help="(default %(default)s)")
    parser.add_argument("--weekly-hours", type=float, default=30.0, help="(default %(default)s)")
    parser.add_argument("--disk-gb", type=float, default=20.0, help="(default %(default)s)")
    parser.add_argument("--params", type=float, required=True, help="parameters of the network, such as 60e6")
    parser.add_argument("--keep", type=int, default=2, help="full states (default %(default)s)")
    parser.add_argument("--averages", type=int, default=1, help="averages of the weights that are kept (default %(default)s)")
    parser.add_argument("--snapshot-every", type=int, default=0, help="epochs between small snapshots, 0: none (default)")
    parser.add_argument("--machine", choices=MACHINES, help="for which to plan (default: all)")
    parser.add_argument("--profile", dest="machine", choices=MACHINES, help=argparse.SUPPRESS)  # as it was called


def run(args: argparse.Namespace) -> None:
    sessions = plan_sessions(
        epochs=args.epochs,
        seconds_per_epoch=args.seconds_per_epoch,
        session_hours=args.session_hours,
        weekly_hours=args.weekly_hours,
        disk_gb=args.disk_gb,
        parameters=args.params,
        keep=args.keep,
        averages=args.averages,
        snapshot_every=args.snapshot_every,
    )
    for name in [args.machine] if args.machine else MACHINES:
        machine = MACHINES[name]
        print(f"{machine.name}: {machine.gpus} GPU{'s' if machine.gpus > 1 else ''}, {machine.precision}; {machine.note}")
        print(f"{'session':>8}{'epochs':>12}{'hours':>8}{'week':>6}{'states kept':>13}{'disk GB':>9}")
        for s in sessions:
            print(f"{s.number:>8}{f'{s.first_epoch}-{s.last_epoch}':>12}{s.hours:>8.2f}{s.week:>6}{s.states:>13}{s.disk_gb:>9.2f}")
        counts = [f"{n} {what}{'s' if n > 1 else ''}" for n, what in ((len(sessions), "session"), (sessions[-1].week, "week"))]
        print(f"{sum(s.hours for s in sessions):.1f} hours in {' and '.join(counts)}\n")
    print("the times hold for the machine on which you measured the seconds per epoch; measure again where you change it")
