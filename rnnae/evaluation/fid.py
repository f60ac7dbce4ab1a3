"""The Fréchet Inception distance (FID) of RGB images, by torch-fidelity (extra `fid`).

Its Inception features are those of the FID that papers report. The network saw photographs, so the
value says little about digits. `sample_metrics` has the same distance on other features.
"""

import os
from pathlib import Path

import numpy as np

from rnnae.errors import ConfigError, import_optional, one_line

# torch-fidelity downloads this file if it gets no path. A run never downloads.
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


def torch_fidelity_frechet(
    real_NHWC: np.ndarray, new_NHWC: np.ndarray, weights_path: str | os.PathLike
) -> float:
    """The FID (Heusel et al. 2017) of two sets of uint8 RGB images (N, H, W, 3), on 2,048 features.

    `weights_path` is a local file of torch-fidelity's Inception weights (`WEIGHTS`, attached to its
    release v0.2.0).

    Raises:
        ConfigError: torch-fidelity is not installed, there is no such file or it has other weights,
            or the images are not RGB or fewer than two.
    """
    for images_NHWC in (real_NHWC, new_NHWC):
        if images_NHWC.ndim != 4 or images_NHWC.shape[3] != 3 or images_NHWC.dtype != np.uint8:
            raise ConfigError(
                f"FID needs uint8 RGB images (N, H, W, 3), not {images_NHWC.dtype} "
                f"{images_NHWC.shape}: use the metrics of rnnae.evaluation.sample_metrics"
            )
        if len(images_NHWC) < 2:
            raise ConfigError(
                f"FID needs at least 2 images in each set, not {len(images_NHWC)}: use more images"
            )
    how = 'pip install "rnnae[fid]"'
    torch, torch_fidelity = import_optional("torch", how), import_optional("torch_fidelity", how)
    path = Path(weights_path).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file; give the path of {WEIGHTS} from the release v0.2.0 of "
            "torch-fidelity"
        )
    try:
        # torch-fidelity unpickles the file, which could run code. This load refuses code.
        torch.load(path, weights_only=True)
    except Exception as error:  # the unpickler raises errors of many types
        raise ConfigError(
            f"{path}: not a file of weights ({one_line(error)}); give {WEIGHTS}"
        ) from error

    class Images(torch.utils.data.Dataset):
        def __init__(self, images_NHWC: np.ndarray):
            self.images_NHWC = images_NHWC

        def __len__(self) -> int:
            return len(self.images_NHWC)

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.from_numpy(self.images_NHWC[index].transpose(2, 0, 1).copy())

    try:
        values = torch_fidelity.calculate_metrics(
            input1=Images(new_NHWC),
            input2=Images(real_NHWC),
            fid=True,
            cuda=torch.cuda.is_available(),
            feature_extractor_weights_path=str(path),
            save_cpu_ram=True,  # reads the images in this process
            cache=False,
            verbose=False,
        )
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise ConfigError(f"{path}: weights of another network; give {WEIGHTS}") from error
    return float(values["frechet_inception_distance"])
