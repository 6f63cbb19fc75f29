"""The curves of a run as one picture."""

from __future__ import annotations

import pathlib

from earwitness.train import metrics

# Panels in order; a panel is drawn if the run logged one of its numbers.
_PANELS = {
    "reward": ("reward", "accuracy", "format"),
    "loss": ("loss", "actor_loss", "critic_loss"),
    "length (tokens)": ("thinking_tokens", "reply_tokens"),
    "truncated": ("truncated",),
    "entropy": ("actor_entropy",),
    "KL and clipping": ("actor_kl", "actor_clip_fraction", "critic_clip_fraction"),
    "engine against trainer": ("mismatch_logp_diff_mean", "mismatch_logp_diff_max", "mismatch_kl"),
    "explained variance": ("explained_variance",),
    "preference": ("accuracy", "prefers_chosen"),
    "margin": ("margin",),
    "gradient norm": ("grad_norm", "actor_grad_norm", "critic_grad_norm"),
    "learning rate": ("lr", "lr_actor", "lr_critic"),
}
_COLUMNS = 3


def draw(run: pathlib.Path, out: pathlib.Path | None = None) -> pathlib.Path:
    """Draw the metrics of a run into a PNG (``RUN/metrics.png``) and return its path.

    Raises:
        FileNotFoundError: a folder that holds no metrics.
        ImportError: without the ``train`` extra, in one sentence.
    """
    rows = metrics.read(run)
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib; pip install 'earwitness[train]'") from error
    logged = {name for row in rows for name in row}
    panels = {title: [n for n in names if n in logged] for title, names in _PANELS.items()}
    if "reward" in logged:
        panels.pop("preference")
    elif "prefers_chosen" in logged:
        panels.pop("reward")
    shown = {title: names for title, names in panels.items() if names}
    height = -(-len(shown) // _COLUMNS)
    figure, axes = pyplot.subplots(height, _COLUMNS, figsize=(4.2 * _COLUMNS, 2.8 * height), squeeze=False)
    for axis, (title, names) in zip(axes.flat, shown.items()):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points), label=name, linewidth=1.2)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(fontsize=7)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    figure.suptitle(str(run.name), fontsize=11)
    figure.tight_layout()
    path = out or run / "metrics.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
