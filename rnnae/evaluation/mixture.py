"""A density over the latents of a deterministic autoencoder, fitted after training.

Ghosh et al. (2020), "From Variational to Deterministic Autoencoders", section 4: ex-post density
estimation with a mixture of Gaussians. scikit-learn fits it; the result is plain numpy.
"""

import dataclasses
import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnae import files
from rnnae.errors import one_line


@dataclasses.dataclass(frozen=True)
class Mixture:
    """M Gaussians over Z dimensions with full covariances. Those of a mixture that was fitted to
    each class belong to a class each."""

    weights_M: np.ndarray
    means_MZ: np.ndarray
    factors_MZZ: np.ndarray  # lower Cholesky factors of the covariances
    label_M: np.ndarray | None = None  # class of each component

    @classmethod
    def fit(cls, latents_NZ: np.ndarray, components: int, seed: int) -> "Mixture":
        """Expectation-maximisation that starts from k-means. With too few latents for
        `components`, fewer are fitted. A single latent gives a Gaussian of hardly any width."""
        from sklearn.exceptions import ConvergenceWarning  # one second to import
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        count, size = latents_NZ.shape
        if count == 1:  # scikit-learn needs two
            latents_NZ = np.repeat(latents_NZ, 2, axis=0)
        scale_Z = latents_NZ.std(axis=0) + 1e-6
        model = GaussianMixture(
            # With fewer latents than dimensions, a covariance would be mostly its regularisation.
            n_components=max(1, min(components, count // (2 * size))),
            reg_covar=1e-3,  # of the unit variance; keeps float32 factorisations safe
            max_iter=15,
            tol=1e-2,
            random_state=seed,
        )
        # One thread gives the same mixture on any number of cores. On a busy machine it is also
        # faster, because several threads would spin while they wait for each other (50,000 latents
        # of 64 dimensions: 222 s with two threads, 85 s with one).
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            # float32 is three times as fast, and gives held-out latents the same likelihood.
            model.fit((latents_NZ / scale_Z).astype(np.float32))
            factors = np.linalg.cholesky(model.covariances_.astype(np.float64))
        weights = model.weights_.astype(np.float64)
        return cls(weights / weights.sum(), model.means_ * scale_Z, factors * scale_Z[:, None])

    @classmethod
    def fit_classes(
        cls, latents_NZ: np.ndarray, label_N: np.ndarray, components: int, seed: int
    ) -> "Mixture":
        """A mixture fitted to the latents of each class, with an equal share of `components` each.
        A class has the weight of its share of the latents; unknown labels (-1) are left out. At
        least one label must be known."""
        labels, counts = np.unique(label_N[label_N >= 0], return_counts=True)
        each = max(1, components // len(labels))
        parts = [cls.fit(latents_NZ[label_N == label], each, seed) for label in labels]
        shares = counts / counts.sum()
        return cls(
            np.concatenate([n * part.weights_M for n, part in zip(shares, parts, strict=True)]),
            np.concatenate([part.means_MZ for part in parts]),
            np.concatenate([part.factors_MZZ for part in parts]),
            np.repeat(labels, [len(part.weights_M) for part in parts]),
        )

    def sample(
        self,
        count: int,
        seed: int,
        label_N: np.ndarray | None = None,
        temperature: float = 1.0,
    ) -> np.ndarray:
        """`count` latents, float32 (count, Z), a function of the arguments.

        `label_N` is the class of each, -1 for any; it needs a mixture that was fitted to classes.
        `temperature` scales the distance of a latent from the mean of its component.
        """
        generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
        if label_N is None:
            chosen = generator.choice(len(self.weights_M), count, p=self.weights_M)
        else:
            chosen = self._components_of(label_N, generator.random(count))
        noise_NZ = generator.standard_normal((count, self.means_MZ.shape[1]))
        if temperature != 1:
            noise_NZ *= temperature
        offsets_NZ = np.einsum("nij,nj->ni", self.factors_MZZ[chosen], noise_NZ)
        return (self.means_MZ[chosen] + offsets_NZ).astype(np.float32)

    def _components_of(self, label_N: np.ndarray, uniform_N: np.ndarray) -> np.ndarray:
        """A component of each class, chosen by its weight within the class."""
        possible_NM = (self.label_M == label_N[:, None]) | (label_N < 0)[:, None]
        cumulative_NM = np.cumsum(possible_NM * self.weights_M, axis=1)
        return np.argmax(cumulative_NM > uniform_N[:, None] * cumulative_NM[:, -1:], axis=1)

    def log_prob(self, latents_NZ: np.ndarray) -> np.ndarray:
        """Log-density of each latent in nats, (N,)."""
        size = self.means_MZ.shape[1]
        centred_MZN = np.swapaxes(latents_NZ[None] - self.means_MZ[:, None], 1, 2)
        white_MZN = np.linalg.solve(self.factors_MZZ, centred_MZN)
        log_det_M = np.log(np.diagonal(self.factors_MZZ, axis1=1, axis2=2)).sum(axis=1)
        constant_M = np.log(self.weights_M) - log_det_M - 0.5 * size * np.log(2 * np.pi)
        return np.logaddexp.reduce(constant_M[:, None] - 0.5 * (white_MZN**2).sum(axis=1), axis=0)

    def save(self, path: str | Path, step: int, weights: str) -> None:
        """Writes the file of `to_bytes`."""
        content = self.to_bytes(step, weights)
        files.replace_file(path, lambda temporary: temporary.write_bytes(content))

    def to_bytes(self, step: int, weights: str) -> bytes:
        """An .npz file; `step` and `weights`, their digest, are of the weights that gave the
        latents."""
        file = io.BytesIO()
        arrays = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        np.savez_compressed(file, step=step, weights=weights, **arrays)
        return file.getvalue()

    @classmethod
    def load(cls, path: str | Path, step: int, weights: str) -> "Mixture | None":
        """The mixture at `path`; None if there is none for these weights of `step`.

        A damaged file counts as none, and a printed line says so. Files of older versions have no
        digest of the weights.
        """
        try:
            with np.load(io.BytesIO(files.read_bytes(Path(path)))) as arrays:
                fields = dict(arrays)
            step_there, weights_there = fields.pop("step"), fields.pop("weights", weights)
            mixture = cls(**fields)
            mixture._check()
        except FileNotFoundError:
            return None
        except Exception as error:  # numpy and zipfile raise all kinds
            print(f"{path} is damaged and not used: {one_line(error)}", flush=True)
            return None
        return mixture if (step_there, weights_there) == (step, weights) else None

    def _check(self) -> None:
        """ValueError unless these are the parameters of a mixture."""
        count, size = np.shape(self.means_MZ)
        shapes = self.weights_M.shape, self.factors_MZZ.shape
        if shapes != ((count,), (count, size, size)) or not abs(self.weights_M.sum() - 1) < 1e-6:
            raise ValueError("these are not the arrays of a mixture")
        if self.label_M is not None and self.label_M.shape != (count,):
            raise ValueError("these are not the classes of its components")
        if not all(np.isfinite(x).all() for x in (self.means_MZ, self.factors_MZZ)):
            raise ValueError("some numbers are not finite")


def digest(params: Any) -> str:
    """SHA-256 of the weights of a model, host arrays."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()
