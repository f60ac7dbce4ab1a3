"""config.optim -> an Optax transform and the learning-rate schedule inside it."""

import optax

from rnnae.errors import ConfigError, choose

OPTIMIZERS = ("adam", "muon")
SCHEDULES = ("constant", "warmup_cosine")
_ADAM_RMS = 0.2  # of Adam's updates, in learning rates
SCHEDULE_KEYS = ("learning_rate", "schedule", "warmup_steps", "final_fraction")


def learning_rate_schedule(
    *,
    learning_rate: float,
    schedule: str,
    warmup_steps: int,
    final_fraction: float,
    total_steps: int,
) -> optax.Schedule:
    """step -> learning rate. `warmup_cosine` rises linearly to `learning_rate`, then follows half
    a cosine (Loshchilov & Hutter 2017) down to `final_fraction` of it at `total_steps`."""
    if schedule == "constant":
        return optax.constant_schedule(learning_rate)
    if schedule == "warmup_cosine":
        # A run shorter than its warm-up would never come down.
        warmup = min(warmup_steps, total_steps // 2)
        return optax.warmup_cosine_decay_schedule(
            0.0 if warmup else learning_rate,
            learning_rate,
            warmup,
            max(total_steps, warmup + 1),
            learning_rate * final_fraction,
        )
    raise ConfigError(f"config.optim.schedule must be one of {', '.join(SCHEDULES)}")


def optimizer(
    schedule: optax.Schedule,
    *,
    name: str,
    b1: float,
    b2: float,
    weight_decay: float,
    clip_norm: float,
) -> optax.GradientTransformation:
    """`adam` (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019) behind
    clipping by the global norm (Pascanu et al. 2013); zero turns either off.

    `muon` (Jordan et al. 2024) orthogonalises the updates of matrices, scaled to the size of Adam's
    (Liu et al. 2025, equation 4), so that one learning rate does for them and for all else, which
    Adam with Nesterov's momentum updates (Dozat 2016). Raises ConfigError with the choices for
    another name.
    """
    choose(dict.fromkeys(OPTIMIZERS), "config.optim.name", name)
    if name == "adam":
        update = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay)
    else:
        update = optax.contrib.muon(
            schedule,
            weight_decay=weight_decay,
            adam_b1=b1,
            adam_b2=b2,
            adam_weight_decay=weight_decay,
            consistent_rms=_ADAM_RMS,
        )
    clip = optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity()
    return optax.chain(clip, update)
