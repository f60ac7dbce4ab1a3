"""A density over the codes of a deterministic autoencoder, fitted after training.

Ghosh et al. (2020), "From Variational to Deterministic Autoencoders", section 4: ex-post density
estimation with a mixture of Gaussians. scikit-learn fits; what is kept is plain numpy.
"""

import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Mixture:
    """M Gaussians over Z dimensions with full covariances."""

    weights_M: np.ndarray
    means_MZ: np.ndarray
    factors_MZZ: np.ndarray  # lower Cholesky factors of the covariances

    @classmethod
    def fit(cls, codes_NZ: np.ndarray, components: int, seed: int) -> "Mixture":
        """Expectation-maximisation from k-means; fewer components where codes are few."""
        from sklearn.exceptions import ConvergenceWarning  # one second to import
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        count, size = codes_NZ.shape
        scale_Z = codes_NZ.std(axis=0) + 1e-6
        model = GaussianMixture(
            # A covariance needs more codes than dimensions to be more than its regularisation.
            n_components=max(1, min(components, count // (2 * size))),
            reg_covar=1e-3,  # of the unit variance; keeps float32 factorisations safe
            max_iter=15,
            tol=1e-2,
            random_state=seed,
        )
        # One thread: the same mixture whatever the number of cores; and on a busy machine several
        # wait for one another, spinning (222 s for 50,000 codes of 64 numbers, 85 with one).
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            # In float32: three times as fast as float64, and as likely held-out codes.
            model.fit((codes_NZ / scale_Z).astype(np.float32))
            factors = np.linalg.cholesky(model.covariances_.astype(np.float64))
        weights = model.weights_.astype(np.float64)
        return cls(weights / weights.sum(), model.means_ * scale_Z, factors * scale_Z[:, None])

    def sample(self, count: int, seed: int) -> np.ndarray:
        """`count` codes, float32 (count, Z), a function of the seed."""
        generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
        chosen = generator.choice(len(self.weights_M), count, p=self.weights_M)
        noise_NZ = generator.standard_normal((count, self.means_MZ.shape[1]))
        offsets_NZ = np.einsum("nij,nj->ni", self.factors_MZZ[chosen], noise_NZ)
        return (self.means_MZ[chosen] + offsets_NZ).astype(np.float32)

    def log_prob(self, codes_NZ: np.ndarray) -> np.ndarray:
        """Log-density of each code in nats, (N,)."""
        size = self.means_MZ.shape[1]
        centred_MZN = np.swapaxes(codes_NZ[None] - self.means_MZ[:, None], 1, 2)
        white_MZN = np.linalg.solve(self.factors_MZZ, centred_MZN)
        log_det_M = np.log(np.diagonal(self.factors_MZZ, axis1=1, axis2=2)).sum(axis=1)
        constant_M = np.log(self.weights_M) - log_det_M - 0.5 * size * np.log(2 * np.pi)
        return np.logaddexp.reduce(constant_M[:, None] - 0.5 * (white_MZN**2).sum(axis=1), axis=0)

    def save(self, path: str | Path, step: int) -> None:
        """An .npz file, written atomically; `step` is that of the weights that gave the codes."""
        temporary = Path(path).with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, step=step, **dataclasses.asdict(self))
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | Path, step: int) -> "Mixture | None":
        """What was saved of the weights of `step`; None if that is not there."""
        if not Path(path).exists():
            return None
        with np.load(path) as arrays:
            fields = dict(arrays)
        return cls(**fields) if fields.pop("step", None) == step else None
