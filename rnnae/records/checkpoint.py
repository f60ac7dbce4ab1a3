"""Checkpoints: save, verify, restore. The only file that imports orbax.

`workdir`/checkpoints/latest keeps the last two states, and `best` the state of lowest validation
loss. Orbax restores wrong weights from a file with a flipped bit, casts dtypes silently, and counts
an empty directory as a checkpoint. So a step counts only if its manifest verifies. The first step
that a process saves gets a manifest only when it has been loaded back and is equal.
"""

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rnnae import files
from rnnae.config import saved_config
from rnnae.devices import distributed
from rnnae.errors import CheckpointError, check_choice, one_line
from rnnae.records import manifest

_STATE = "default"  # orbax's name of the directory of the only item of a step
_KEEP = {"latest": 2, "best": 1}


class Checkpoints:
    """The checkpoints of one run, a context manager; directories are made at the first save.

    `config` is the resolved config of the run. It is saved with each step, and a step that was
    saved with another is refused. Without it, steps are not checked for the run they belong to.
    """

    def __init__(self, workdir: str | Path, config: dict | None = None):
        self._root = Path(os.path.realpath(workdir)) / files.CHECKPOINTS
        self._config = config
        self._managers: dict[str, ocp.CheckpointManager] = {}
        self._loaded_back: set[str] = set()
        self._stack = contextlib.ExitStack()
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # its errors are raised, too

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        with contextlib.suppress(Exception) if error else contextlib.nullcontext():
            self.close()

    def steps(self, kind: str) -> list[int]:
        """Steps that have a manifest, oldest first."""
        root = self._root / kind
        return [s for s in self._directories(kind) if (root / str(s) / manifest.MANIFEST).exists()]

    def save(self, kind: str, step: int, state: Any) -> None:
        """Writes the state, and returns when it is on disk. A step that exists is left alone.

        Raises CheckpointError if the state cannot be written; older steps are kept then.
        """

        def begin():
            if step in self.steps(kind):
                return False
            self._set_aside(kind, step)  # half-written when the run was killed
            return True

        directory = self._root / kind / str(step)
        try:
            if not distributed.on_primary(begin):
                return
            manager = self._manager(kind)
            with _quiet_if_it_fails():
                manager.save(step, args=ocp.args.StandardSave(_key_data(state)), force=True)
                manager.wait_until_finished()
            signature = _signature(state)
            distributed.on_primary(lambda: self._describe(directory, signature))
            if kind not in self._loaded_back:
                self._load_back(kind, step, state)
                self._loaded_back.add(kind)
            distributed.on_primary(lambda: manifest.write(directory))
        except jax.errors.JaxRuntimeError:  # of a device
            raise
        except (OSError, ValueError, RuntimeError) as error:
            # asyncio would repeat the error, and Python would report the writes that never began.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            raise files.cannot_write("checkpoint", directory, error) from error

    def restore(self, like: Any, kind: str = "latest", repair: bool = False) -> Any | None:
        """The newest state that verifies, with the shapes, dtypes and devices of `like`.

        Returns None if there are no checkpoints. Each step that does not verify is reported in a
        printed line, and with `repair` moved to checkpoints/refused. Raises CheckpointError if no
        step verifies, or if the state belongs to another model; ConfigError for an unknown `kind`.
        """
        check_choice(_KEEP, "the checkpoint", kind)
        newest = distributed.on_primary(lambda: self._newest(kind, repair))
        return None if newest is None else self._read(*newest, like)

    def restore_averages(self, shapes: Any, kind: str = "latest") -> tuple[Any, int] | None:
        """(averaged parameters as numpy arrays, their step) of the newest state that verifies,
        without the rest of the state. `shapes` are `state.shapes_of_params`. Returns and raises as
        `restore` does.
        """
        check_choice(_KEEP, "the checkpoint", kind)
        newest = self._newest(kind, repair=False)
        if newest is None:
            return None
        source, step = newest
        self._check_signature(source, step, shapes, part=".ema")
        item = {"ema": shapes}
        arguments = ocp.args.PyTreeRestore(
            item=item,
            restore_args=jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), item),
            partial_restore=True,
        )
        with (
            self._reading(source, step),
            files.plain_path(self._root / source / str(step)) as path,
            ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer,
        ):
            return checkpointer.restore(path / _STATE, args=arguments)["ema"], step

    def newest(self) -> int | None:
        """The step that `restore` would take; None if there are no checkpoints."""
        newest = distributed.on_primary(lambda: self._newest("latest", repair=False))
        return None if newest is None else newest[1]

    def has(self, step: int) -> bool:
        """Whether the state of that step can be restored."""
        return distributed.on_primary(lambda: self._verify("latest", step) is None)

    def go_back(self, step: int) -> None:
        """Moves the states after that step to checkpoints/refused."""
        for newer in [s for s in self._directories("latest") if s > step]:
            self._set_aside("latest", newer)

    def _newest(self, kind: str, repair: bool) -> tuple[str, int] | None:
        candidates = [(kind, step) for step in reversed(self._directories(kind))]
        if kind == "latest":
            candidates += [("best", step) for step in reversed(self._directories("best"))]
        refused = []
        for source, step in candidates:
            reason = self._verify(source, step)
            if reason is None:
                for refused_kind, refused_step, why in refused:
                    print(f"checkpoint {refused_kind}/{refused_step} refused: {why}", flush=True)
                    if repair:
                        self._set_aside(refused_kind, refused_step)
                if refused:
                    print(f"falling back to checkpoint {source}/{step}", flush=True)
                return source, step
            refused.append((source, step, reason))
        if refused:
            reasons = "; ".join(f"{kind}/{step}: {why}" for kind, step, why in refused)
            raise CheckpointError(
                f"no checkpoint in {self._root} can be trusted ({reasons}); restore the files "
                "from a copy, or start again in another --workdir"
            )
        return None

    def close(self) -> None:
        with self._stack:
            for manager in self._managers.values():
                manager.close()

    def _manager(self, kind: str) -> ocp.CheckpointManager:
        if kind not in self._managers:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=_KEEP[kind], enable_async_checkpointing=False, create=True
            )
            (self._root / kind).mkdir(parents=True, exist_ok=True)
            path = self._stack.enter_context(files.plain_path(self._root / kind))
            self._managers[kind] = ocp.CheckpointManager(path, options=options)
        return self._managers[kind]

    def _directories(self, kind: str) -> list[int]:
        folder = self._root / kind
        # Also what is no directory, such as a link to itself: it is damage, and has to be said.
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def _describe(self, directory: Path, signature: dict[str, str]) -> None:
        (directory / manifest.ARRAYS).write_text(json.dumps(signature, indent=1), encoding="utf-8")
        if self._config is not None:
            (directory / files.CONFIG).write_text(
                saved_config.to_text(self._config), encoding="utf-8"
            )

    def _verify(self, kind: str, step: int) -> str | None:
        """Why the step cannot be trusted; None if it can."""
        return manifest.why_refused(self._root / kind / str(step), self._config)

    def _load_back(self, kind: str, step: int, state: Any) -> None:
        """CheckpointError unless the step restores as the state that was saved."""
        saved = jax.device_get(_key_data(state))  # takes no memory of the devices
        restored = self._read(kind, step, saved)
        for ours, theirs in zip(jax.tree.leaves(saved), jax.tree.leaves(restored), strict=True):
            if np.asarray(ours).tobytes() != np.asarray(theirs).tobytes():
                raise CheckpointError(
                    f"checkpoint {kind}/{step} in {self._root} differs from the state that was "
                    "saved when it is loaded back: use a --workdir on another disk"
                )

    def _read(self, kind: str, step: int, like: Any) -> Any:
        self._check_signature(kind, step, like)
        with self._reading(kind, step):
            arguments = ocp.args.StandardRestore(_key_data(like))
            restored = self._manager(kind).restore(step, args=arguments)
        return jax.tree.map(
            lambda new, old: jax.random.wrap_key_data(new) if _is_key(old) else new, restored, like
        )

    def _check_signature(self, kind: str, step: int, like: Any, part: str = "") -> None:
        """CheckpointError unless the saved arrays, or those below `part`, are those of `like`."""
        saved = files.read_json(self._root / kind / str(step) / manifest.ARRAYS)
        saved = {name: array for name, array in saved.items() if name.startswith(part)}
        expected = {part + name: array for name, array in _signature(like).items()}
        for name in sorted(saved.keys() | expected.keys()):
            if saved.get(name) != expected.get(name):
                raise CheckpointError(
                    f"checkpoint {kind}/{step} belongs to another model: {name} is "
                    f"{saved.get(name, 'absent')} there and {expected.get(name, 'absent')} here"
                )

    @contextlib.contextmanager
    def _reading(self, kind: str, step: int) -> Iterator[None]:
        """Errors of orbax in the body as a CheckpointError."""
        try:
            yield
        except jax.errors.JaxRuntimeError:  # of a device
            raise
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"checkpoint {kind}/{step} in {self._root} cannot be loaded: {one_line(error)}"
            ) from error

    def _set_aside(self, kind: str, step: int) -> None:
        source = self._root / kind / str(step)
        if not os.path.lexists(source) or not distributed.is_primary():
            return
        target = files.free_path(self._root / "refused" / f"{kind}-{step}")
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        if kind in self._managers:
            self._managers[kind].reload()


def align_checkpoints(workdirs: Sequence[Path]) -> bool:
    """Whether all runs can continue from the same step, as training them together requires.

    Runs that saved one checkpoint more than the others before a kill go back by one.
    """
    with contextlib.ExitStack() as stack:
        all_checkpoints = [
            stack.enter_context(contextlib.closing(Checkpoints(workdir))) for workdir in workdirs
        ]
        newest = [checkpoints.newest() for checkpoints in all_checkpoints]
        if None in newest:
            return set(newest) == {None}
        first = min(newest)
        if not all([checkpoints.has(first) for checkpoints in all_checkpoints]):
            return False
        for checkpoints in all_checkpoints:
            checkpoints.go_back(first)
        return True


def _is_key(x: Any) -> bool:
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _key_data(tree: Any) -> Any:
    """The tree with the data of its typed random keys, because orbax writes plain arrays only."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _signature(tree: Any) -> dict[str, str]:
    """Path in the tree -> dtype[shape] of the array there."""
    leaves = jax.tree_util.tree_leaves_with_path(_key_data(tree))
    return {jax.tree_util.keystr(path): f"{x.dtype}{list(x.shape)}" for path, x in leaves}


@contextlib.contextmanager
def _quiet_if_it_fails() -> Iterator[None]:
    """Holds back what is written to stderr in the body, and drops it if the body fails: threads of
    orbax print a traceback each for the error that the body raises."""
    written = io.StringIO()
    with contextlib.redirect_stderr(written):
        yield
    with contextlib.suppress(OSError):  # the disk of a log file may be full
        sys.stderr.write(written.getvalue())
