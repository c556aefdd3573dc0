"""Mistakes in what training draws, in averages, and in what a run takes up and leaves behind. Rows as in table_maths.py."""

from table_maths import PUBLISHED

EMA = "tests/unit/test_ema.py"
TRAINING = "tests/unit/training/test_trainer.py::"
TIMESTEPS = TRAINING + "test_all_timesteps_are_trained"
MIRRORED = TRAINING + "test_half_of_the_images_are_mirrored_and_labels_stay_with_their_images"
ORDERS = TRAINING + "test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own"
LABELS = TRAINING + "test_labels_are_dropped_for_each_image_at_their_rate"
RATE = TRAINING + "test_learning_rate_rises_then_stays_or_falls_as_a_cosine"
RESUME = TRAINING + "test_a_run_that_is_cut_and_resumed_is_bit_equal_to_one_that_was_not"
AVERAGE = TRAINING + "test_samples_come_from_the_average"
NO_STATE = "tests/unit/training/test_session.py::test_resume_without_a_state_is_refused_and_never_starts_from_scratch"
IMAGES = "tests/unit/data/test_images.py"
FORMS = "tests/unit/restoration/test_formulations.py"
BEGUN = "tests/unit/training/test_written_by_0_1_0.py"
MISTAKES = "tests/unit/training/test_known_mistakes.py"

LEARNING = {
    "ema.py": [
        (
            "the average covers buffers",
            ".clone() for p in network.parameters()]",
            ".clone() for p in network.state_dict().values()]",
            EMA,
            PUBLISHED,
        ),
        ("the average has no warm-up", "min(decay, (1 + k) / (10 + k)) ** every", "decay**every", EMA, PUBLISHED),
        ("the average is kept in bfloat16", "p.detach().float().clone()", "p.detach().bfloat16().clone()", EMA, PUBLISHED),
        ("the average follows the latest weights", "1 - self.rule(step))", "self.rule(step))", EMA),
        ("the average forgets at the same rate however rarely it moves", "(10 + k)) ** every", "(10 + k))", EMA),
        ("a late average keeps a tenth of the old weights", "if k <= 0 else", "if k < 0 else", EMA),
        ("a late average warms up from step 0", "k = step - start", "k = step if step > start else 0", EMA),
        ("the average moves at every step", "if step % self.every == 0:", "if True:", EMA),
        ("the power average's exponent is gamma", "exponent = gamma_of(sigma) + 1", "exponent = gamma_of(sigma)", EMA),
        ("gamma of another length", "16 - s, 12 - s", "16 - s, 11 - s", EMA),
        ("snapshots are weighed by wrong integrals", "(gi + gj + 1) *", "(gi + gj + 2) *", EMA),
        ("the average never reaches the network", "parameter.copy_(average)", "average.copy_(parameter)", AVERAGE, PUBLISHED),
    ],
    "training/batches.py": [
        (
            "only t below 300 is trained",
            "torch.randint(0, config.timesteps, (B,)",
            "torch.randint(0, min(300, config.timesteps), (B,)",
            TIMESTEPS,
            PUBLISHED,
        ),
        ("t = 0 is never trained", "torch.randint(0, config.timesteps,", "torch.randint(1, config.timesteps,", TIMESTEPS),
        ("t = T - 1 is never trained", "torch.randint(0, config.timesteps,", "torch.randint(0, config.timesteps - 1,", TIMESTEPS),
        (
            "one t for the whole batch",
            "torch.randint(0, config.timesteps, (B,), generator=generator)",
            "torch.randint(0, config.timesteps, (1,), generator=generator).expand(B)",
            TIMESTEPS,
        ),
        (
            "noise is uniform",
            "eps = torch.randn(x0.shape, generator=noise, device=noise.device)",
            "eps = torch.rand(x0.shape, generator=noise, device=noise.device)",
            MIRRORED,
            PUBLISHED,
        ),
        (
            "one noise for the whole batch",
            "eps = torch.randn(x0.shape, generator=noise, device=noise.device)",
            "eps = torch.randn(x0[:1].shape, generator=noise, device=noise.device).expand(x0.shape)",
            MISTAKES,
        ),
        (
            "noise comes from the global generator",
            "eps = torch.randn(x0.shape, generator=noise, device=noise.device)",
            "eps = torch.randn(x0.shape)",
            RESUME,
            PUBLISHED,
        ),
        ("every epoch replays the noise of the first", '"step", step)', '"step", i)', TIMESTEPS, PUBLISHED),
        ("every epoch has the same order", '"order", epoch)', '"order", 0)', ORDERS, PUBLISHED),
        ("the last images of an epoch are never seen", "[i * B : (i + 1) * B]", "[: B]", MISTAKES),
        (
            "images stay in [0, 1]",
            "x0 = to_float(draw.pick(data.images), config.mean, config.std)",
            "x0 = to_float(draw.pick(data.images), (0.0,), (1.0,))",
            MIRRORED,
            PUBLISHED,
        ),
        (
            "labels do not follow their images",
            "torch.from_numpy(data.labels[rows])",
            "torch.from_numpy(data.labels[np.sort(rows)])",
            MIRRORED,
        ),
        ("images are turned upside down", "images[:, :, ::-1]", "images[:, ::-1]", MIRRORED),
        ("all images are mirrored", ".numpy() < 0.5", ".numpy() < 1.5", MIRRORED),
    ],
    "training/trainer.py": [
        ("the first step has no learning rate", "(step + 1) / config.warmup", "step / config.warmup", RATE),
        ("the learning rate falls to half", "0.5 * (1 + math.cos(math.pi * done))", "0.5 * (1 + math.cos(math.pi * done / 2))", RATE),
        (
            "gradients are not clipped",
            "self.network.parameters(), self.config.clip_norm)",
            "self.network.parameters(), math.inf)",
            MISTAKES,
        ),
        (
            "gradients that are no numbers are silently zeroed",
            "self.scaler.unscale_(self.optimizer)",
            "self.scaler.unscale_(self.optimizer)\n        for p in self.network.parameters():\n            p.grad.nan_to_num_()",
            MISTAKES,
            PUBLISHED,
        ),
        ("gradients add up from step to step", "self.optimizer.zero_grad(set_to_none=True)", "pass", MISTAKES),
        ("one trains in eval mode", "self.network.train()", "self.network.eval()", MISTAKES),
        (
            "samples come from the latest weights",
            "self.averages[index].copy_to(copy.deepcopy(self.network)).eval()",
            "copy.deepcopy(self.network).eval()",
            AVERAGE,
            PUBLISHED,
        ),
        (
            "samples come from a network in train mode",
            "copy.deepcopy(self.network)).eval()",
            "copy.deepcopy(self.network)).train()",
            AVERAGE,
            PUBLISHED,
        ),
        (
            "the average moves before the step is counted",
            "average.update(self.network, self.step)",
            "average.update(self.network, self.step - 1)",
            MISTAKES,
        ),
    ],
    "training/checkpoints.py": [
        ("a resumed run counts from 0", 'trainer.step = state["step"]', "trainer.step = 0", RESUME, PUBLISHED),
        (
            "a resumed run has the average start anew",
            'fill(average.shadow, vectors[f"average {i}"])',
            'fill(average.shadow, vectors["network"])',
            RESUME,
        ),
        ("a resumed optimizer has forgotten its moments", 'if state["optimizer_steps"] > 0:', "if False:", RESUME),
    ],
    "config.py": [
        (
            "the schedule asked for is not the one used",
            "NoiseSchedule.named(self.schedule, self.timesteps)",
            'NoiseSchedule.named("linear", self.timesteps)',
            MISTAKES,
        ),
        ("a setting that a form hasn't got is accepted", "elif name not in usual:", "elif False:", FORMS),
        (
            "a file of old forgets its own settings",
            "own = {name: value for name, value in flat.items()",
            "own = {name: value for name, value in ()",
            BEGUN,
        ),
        ("zero terminal SNR is asked for and not used", "if self.zero_terminal_snr else schedule", "if False else schedule", MISTAKES),
    ],
    "training/tasks/generation.py": [
        (
            "labels are dropped for the whole batch",
            "dropped = draw.chance(self.config.task.label_dropout)",
            "dropped = draw.chance(self.config.task.label_dropout)[:1].expand(len(batch.label))",
            LABELS,
            PUBLISHED,
        ),
        ("dropped labels become class 0", "masked_fill(dropped, self.config.network.null_label)", "masked_fill(dropped, 0)", LABELS),
        (
            "labels are kept where they should be dropped",
            "draw.chance(self.config.task.label_dropout)",
            "~draw.chance(self.config.task.label_dropout)",
            LABELS,
        ),
    ],
    "training/run_folder.py": [
        (
            "without a state a resumed run starts from scratch",
            "if options.resume is True and not list_states(out):",
            "if False:",
            NO_STATE,
            PUBLISHED,
        ),
    ],
    "training/session.py": [
        (
            "the model file holds the latest weights",
            "trainer.task.save(trainer.average_network(), trainer.data, self.out / trainer.task.result)",
            "trainer.task.save(trainer.network, trainer.data, self.out / trainer.task.result)",
            MISTAKES,
            PUBLISHED,
        ),
        (
            "samples while training come from the latest weights",
            "trainer.task.preview(trainer.average_network(),",
            "trainer.task.preview(trainer.network,",
            MISTAKES,
            PUBLISHED,
        ),
    ],
    "data/images.py": [
        ("images are scaled to [0, 1]", "(x - _per_channel(mean)) / _per_channel(std)", "x", MIRRORED),
        ("samples are rounded down", "(v * 255).round()", "(v * 255).floor()", IMAGES),
    ],
}
