#!/usr/bin/env bash
# Trains one run on the GPUs of several nodes with SLURM: one process per GPU, started by srun.
#
#   sbatch --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 experiments/tpu/slurm.sh NAME \
#       --config configs/cifar10_sweep.py [flags of rnnae.main]
#
# Start it from the checkout, in an environment with rnnae[cuda12], on a file system that all nodes
# share. SLURM sends SIGTERM ninety seconds before the time limit. The run then saves its state, and
# the job is put back into the queue.
#SBATCH --signal=TERM@90
#SBATCH --requeue
#SBATCH --open-mode=append
set -uo pipefail
name=$1
shift
srun python -m rnnae.main --workdir="runs/$name" "$@"
status=$?
if [ $status -eq 143 ]; then # stopped by SIGTERM, with its state saved
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $status
