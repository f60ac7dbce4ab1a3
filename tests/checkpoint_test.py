"""A restored state is the saved one, or an older one with a message; never anything else."""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnae.config import default
from rnnae.errors import CheckpointError
from rnnae.records.checkpoint import Checkpoints


def tree(step: int) -> dict:
    return {
        "step": jnp.asarray(step, jnp.int32),
        "params": {
            "w": jax.random.normal(jax.random.key(step), (5, 3)),
            "h": jnp.full((4,), step + 0.1, jnp.bfloat16),
        },
        "key": jax.random.key(step),
    }


def leaves(state: dict) -> list[bytes]:
    plain = state | {"key": jax.random.key_data(state["key"])}
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(plain)]


def save(workdir: Path, steps, kind="latest") -> Checkpoints:
    checkpoints = Checkpoints(workdir)
    for step in steps:
        checkpoints.save(kind, step, tree(step))
    checkpoints.close()
    return checkpoints


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("two_checkpoints")
    save(workdir, (3, 7))
    return workdir


@pytest.fixture
def copied(two_checkpoints, tmp_path) -> Path:
    return Path(shutil.copytree(two_checkpoints, tmp_path / "copied"))


def files(workdir: Path) -> list[Path]:
    newest = workdir / "checkpoints" / "latest" / "7"
    return sorted(p for p in newest.rglob("*") if p.is_file() and p.stat().st_size)


def restore(workdir: Path, **kwargs):
    checkpoints = Checkpoints(workdir)
    restored = checkpoints.restore(tree(0), **kwargs)
    checkpoints.close()
    return restored


def test_round_trip_is_exact_in_every_dtype(two_checkpoints):
    restored = restore(two_checkpoints)
    assert leaves(restored) == leaves(tree(7))
    assert restored["params"]["h"].dtype == jnp.bfloat16
    assert jnp.issubdtype(restored["key"].dtype, jax.dtypes.prng_key)


def test_restoring_without_checkpoints_gives_none(tmp_path):
    assert restore(tmp_path) is None


def test_the_last_two_states_and_the_best_one_are_kept(tmp_path):
    save(tmp_path, (1, 2, 3))
    save(tmp_path, (1, 3), kind="best")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps("latest") == [2, 3] and checkpoints.steps("best") == [3]


def test_a_flipped_byte_in_any_file_never_restores_wrong_weights(copied, capsys):
    checked = 0
    for file in files(copied):
        original = file.read_bytes()
        for position in {0, len(original) // 2, len(original) - 1}:
            damaged = bytearray(original)
            damaged[position] ^= 0x10
            file.write_bytes(damaged)
            try:
                restored = restore(copied)
            except CheckpointError:
                continue  # reported, with exit code 3
            assert leaves(restored) in (leaves(tree(7)), leaves(tree(3))), file
            if leaves(restored) == leaves(tree(3)):
                assert "falling back to checkpoint latest/3" in capsys.readouterr().out
            checked += 1
        file.write_bytes(original)
    assert checked > 10
    assert leaves(restore(copied)) == leaves(tree(7))


@pytest.mark.parametrize("damage", ["missing file", "no manifest", "empty directory"])
def test_an_incomplete_or_changed_checkpoint_is_refused_and_set_aside(copied, capsys, damage):
    newest = copied / "checkpoints" / "latest" / "7"
    if damage == "missing file":
        next(f for f in files(copied) if f.name != "manifest.json").unlink()
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest.parent / "9").mkdir()
    restored = restore(copied, repair=True)
    expected = 7 if damage == "empty directory" else 3
    assert leaves(restored) == leaves(tree(expected))
    assert "refused" in capsys.readouterr().out
    assert list((copied / "checkpoints" / "refused").iterdir())
    save(copied, (9,))
    assert leaves(restore(copied)) == leaves(tree(9))


def test_restoring_falls_back_to_the_best_checkpoint(tmp_path, capsys):
    save(tmp_path, (5,))
    save(tmp_path, (4,), kind="best")
    (tmp_path / "checkpoints" / "latest" / "5" / "manifest.json").unlink()
    assert leaves(restore(tmp_path)) == leaves(tree(4))
    assert "falling back to checkpoint best/4" in capsys.readouterr().out


def test_no_checkpoint_that_verifies_is_an_error(copied):
    for manifest in (copied / "checkpoints").rglob("manifest.json"):
        manifest.write_text("{")
    with pytest.raises(CheckpointError, match="can be trusted.*damaged"):
        restore(copied)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t["params"].update(w=jnp.zeros((5, 4))), r"\['w'\] is float32\[5, 3\] there"),
        (
            lambda t: t["params"].update(h=jnp.zeros(4)),
            r"bfloat16\[4\] there and float32",
        ),
        (lambda t: t["params"].update(new=jnp.zeros(4)), "absent there"),
        (lambda t: t["params"].pop("w"), "absent here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_with_the_name_of_the_array(
    two_checkpoints, change, words
):
    like = tree(0)
    change(like)
    with pytest.raises(CheckpointError, match=words):
        Checkpoints(two_checkpoints).restore(like)


def test_a_full_disk_is_an_error_and_keeps_older_checkpoints(copied, monkeypatch):
    import orbax.checkpoint as ocp

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
    with pytest.raises(CheckpointError, match="latest/9: no space left on its disk.*free some"):
        Checkpoints(copied).save("latest", 9, tree(9))
    monkeypatch.undo()
    assert leaves(restore(copied)) == leaves(tree(7))


def test_files_of_others_are_no_damage(copied, capsys):
    latest = copied / "checkpoints" / "latest"
    for directory in (latest, latest / "7", latest / "7" / "default", latest / "3"):
        (directory / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (directory / "Thumbs.db").touch()
        (directory / "._7").mkdir()
    assert leaves(restore(copied, repair=True)) == leaves(tree(7))
    save(copied, (9,))
    assert leaves(restore(copied)) == leaves(tree(9)) and not capsys.readouterr().out
    assert not (copied / "checkpoints" / "refused").exists()


@pytest.mark.parametrize(
    "name",
    [
        "lr[1e-3]",
        "a*b?",
        "back\\slash",
        "gs:/b",
        "with space\n",
        "\u00e9\u4e2d",
        "\udcff",
        "{a,b}#%20",
    ],
)
def test_any_legal_path_holds_checkpoints(name, tmp_path):
    save(tmp_path / name, (3, 7))
    assert leaves(restore(tmp_path / name)) == leaves(tree(7))
    (tmp_path / name).rename(tmp_path / "moved[0]")
    save(tmp_path / "moved[0]", (9,))
    assert leaves(restore(tmp_path / "moved[0]")) == leaves(tree(9))


def test_a_state_counts_as_saved_only_when_it_was_loaded_back(copied, monkeypatch):
    import orbax.checkpoint as ocp

    def restore_other(self, step, args):
        return jax.tree.map(lambda x: x * 0, args.item)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "restore", restore_other)
        with pytest.raises(CheckpointError, match="latest/9 .* differs from the state"):
            Checkpoints(copied).save("latest", 9, tree(9))
    assert leaves(restore(copied)) == leaves(tree(7))


@pytest.mark.parametrize(
    "content", ["[]", '"x"', "null", "{}", '{"arrays.json": "0"}', None, "pipe"]
)
def test_a_manifest_of_another_form_falls_back_to_an_older_step(copied, content, capsys):
    manifest = copied / "checkpoints" / "latest" / "7" / "manifest.json"
    manifest.unlink()
    if content == "pipe":
        os.mkfifo(manifest)
    else:
        manifest.symlink_to(manifest) if content is None else manifest.write_text(content)
    assert leaves(restore(copied)) == leaves(tree(3))
    assert "falling back to checkpoint latest/3" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["directory", "symlink loop"])
def test_what_is_no_file_falls_back_to_an_older_step(copied, kind):
    for file in files(copied):
        if file.name != "manifest.json":
            content = file.read_bytes()
            file.unlink()
            file.mkdir() if kind == "directory" else file.symlink_to(file)
            assert leaves(restore(copied)) == leaves(tree(3)), file
            file.rmdir() if kind == "directory" else file.unlink()
            file.write_bytes(content)


def test_a_checkpoint_is_bound_to_its_run(tmp_path, capsys):
    config = default().to_dict()
    for seed in (0, 1):
        with Checkpoints(tmp_path / str(seed), config | {"seed": seed}) as checkpoints:
            for step in (3, 7):
                checkpoints.save("latest", step, tree(step + seed))
    ours, theirs = (tmp_path / str(seed) / "checkpoints" / "latest" / "7" for seed in (0, 1))
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    longer = config | {"train": config["train"] | {"epochs": 99}}
    restored = Checkpoints(tmp_path / "0", longer).restore(tree(0))
    assert leaves(restored) == leaves(tree(3))
    words = "latest/7 refused: it belongs to another run (config.seed: 1 there, 0 here)"
    assert words in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="another run.*config.seed: 0 there, 5 here"):
        Checkpoints(tmp_path / "0", config | {"seed": 5}).restore(tree(0))


def test_checkpoints_without_a_config_still_load(two_checkpoints):
    """Older versions saved none."""
    restored = Checkpoints(two_checkpoints, default().to_dict()).restore(tree(0))
    assert leaves(restored) == leaves(tree(7))


def test_an_error_at_the_end_does_not_hide_the_first(copied, monkeypatch):
    def fail(self):
        raise OSError("at the end")

    monkeypatch.setattr(Checkpoints, "close", fail)
    with pytest.raises(CheckpointError, match="the first"), Checkpoints(copied):
        raise CheckpointError("the first")
    with pytest.raises(OSError, match="at the end"), Checkpoints(copied):
        pass
