#!/usr/bin/env bash
# A run on GPUs of several nodes under SLURM: one process a GPU, found by what srun says.
#
#   sbatch --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 experiments/tpu/slurm.sh NAME \
#       --config configs/cifar10_sweep.py [flags of rnnae.main]
#
# Start it from the checkout, in an environment with rnnae[cuda12], on a filesystem that all nodes
# see. Ninety seconds before its time is over SLURM sends SIGTERM; the run saves, and goes into the
# queue again.
#SBATCH --signal=TERM@90
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
name=$1
shift
srun python -m rnnae.main --workdir="runs/$name" "$@"
status=$?
if [ $status -eq 143 ]; then # stopped by SIGTERM, all saved
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
