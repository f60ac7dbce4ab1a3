"""Checkpoints: save, verify, restore. The only file that imports orbax.

`workdir`/checkpoints/latest keeps the last two states, and `best` the state of lowest validation
loss. Orbax restores wrong weights from a file with a flipped bit, casts dtypes silently, and counts
an empty directory as a checkpoint. So every step gets a manifest with the SHA-256 of each of its
files, written when all of them are on disk. One of these files lists the shape and dtype of each
array. A step counts only if its manifest verifies.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from rnnae import files
from rnnae.devices import distributed
from rnnae.errors import CheckpointError, check_choice, one_line

_KEEP = {"latest": 2, "best": 1}
_MANIFEST = "manifest.json"  # path -> SHA-256
_ARRAYS = "arrays.json"  # path in the state -> dtype and shape


class Checkpoints:
    """The checkpoints of one run; directories are made at the first save."""

    def __init__(self, workdir: str | Path):
        self._root = Path(workdir).resolve() / files.CHECKPOINTS
        self._managers: dict[str, ocp.CheckpointManager] = {}
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax logs several lines per save

    def steps(self, kind: str) -> list[int]:
        """Steps that have a manifest, oldest first."""
        return [step for step in self._directories(kind) if self._manifest(kind, step).exists()]

    def save(self, kind: str, step: int, state: Any) -> None:
        """Writes the state, and returns when it is on disk. A step that exists is left alone.

        Raises CheckpointError if the state cannot be written; older steps are kept then.
        """

        def begin():
            if step in self.steps(kind):
                return False
            self._set_aside(kind, step)  # half-written when the run was killed
            return True

        try:
            if not distributed.on_primary(begin):
                return
            manager = self._manager(kind)
            manager.save(step, args=ocp.args.StandardSave(_key_data(state)), force=True)
            manager.wait_until_finished()
            signature = _signature(state)
            distributed.on_primary(lambda: self._write_manifest(kind, step, signature))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"cannot write checkpoint {kind}/{step} in {self._root}: {one_line(error)}; free "
                "some space and run the same command again: it continues from the last checkpoint"
            ) from error

    def restore(self, like: Any, kind: str = "latest", repair: bool = False) -> Any | None:
        """The newest state that verifies, with the shapes, dtypes and devices of `like`.

        Returns None if there are no checkpoints. Each step that does not verify is reported in a
        printed line, and with `repair` moved to checkpoints/refused. Raises CheckpointError if no
        step verifies, or if the state belongs to another model; ConfigError for an unknown `kind`.
        """
        check_choice(_KEEP, "the checkpoint", kind)
        newest = distributed.on_primary(lambda: self._newest(kind, repair))
        return None if newest is None else self._read(*newest, like)

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
                "from a copy, or remove the directory to start from scratch"
            )
        return None

    def close(self) -> None:
        for manager in self._managers.values():
            manager.close()

    def _manager(self, kind: str) -> ocp.CheckpointManager:
        if kind not in self._managers:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=_KEEP[kind], enable_async_checkpointing=False, create=True
            )
            self._managers[kind] = ocp.CheckpointManager(self._root / kind, options=options)
        return self._managers[kind]

    def _directories(self, kind: str) -> list[int]:
        folder = self._root / kind
        names = [p.name for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())

    def _manifest(self, kind: str, step: int) -> Path:
        return self._root / kind / str(step) / _MANIFEST

    def _write_manifest(self, kind: str, step: int, signature: dict[str, str]) -> None:
        path = self._manifest(kind, step)
        (path.parent / _ARRAYS).write_text(json.dumps(signature, indent=1), encoding="utf-8")
        files.replace_text(path, json.dumps(_digests(path.parent), indent=1))

    def _verify(self, kind: str, step: int) -> str | None:
        """Why the step cannot be trusted; None if it can."""
        path = self._manifest(kind, step)
        try:
            expected = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return "it was not finished (it has no manifest)"
        except ValueError:  # not JSON, or not even text
            return f"{_MANIFEST} is damaged"
        found = _digests(path.parent)
        for name in sorted(expected.keys() | found.keys()):
            if name not in found:
                return f"{name} is missing"
            if name not in expected:
                return f"{name} does not belong to it"
            if expected[name] != found[name]:
                return f"{name} is damaged"
        return None

    def _read(self, kind: str, step: int, like: Any) -> Any:
        saved = json.loads(
            (self._manifest(kind, step).parent / _ARRAYS).read_text(encoding="utf-8")
        )
        expected = _signature(like)
        for name in sorted(saved.keys() | expected.keys()):
            if saved.get(name) != expected.get(name):
                raise CheckpointError(
                    f"checkpoint {kind}/{step} belongs to another model: {name} is "
                    f"{saved.get(name, 'absent')} there and {expected.get(name, 'absent')} here"
                )
        target = _key_data(like)
        restored = self._manager(kind).restore(step, args=ocp.args.StandardRestore(target))
        return jax.tree.map(
            lambda new, old: jax.random.wrap_key_data(new) if _is_key(old) else new, restored, like
        )

    def _set_aside(self, kind: str, step: int) -> None:
        source = self._root / kind / str(step)
        if not source.exists() or not distributed.is_primary():
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


def _digests(directory: Path) -> dict[str, str]:
    """Path within `directory` -> SHA-256, for each file but the manifest and its temporary file."""
    paths = [p for p in directory.rglob("*") if p.is_file() and _MANIFEST not in p.name]
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(paths)
    }
