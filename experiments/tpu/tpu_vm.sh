#!/usr/bin/env bash
# Trains one run on a TPU slice of one or more hosts, which is requested as a queued resource.
#
#   PROJECT=p ZONE=us-central1-a TYPE=v5litepod-16 VERSION=v2-alpha-tpuv5-lite [SPOT=1] \
#   MOUNT=10.0.0.2:/share REPOSITORY=https://... \
#       experiments/tpu/tpu_vm.sh NAME --config configs/cifar10_sweep.py [flags of rnnae.main]
#
# MOUNT is an NFS export (Filestore) that all hosts can reach. It holds the checkout of REPOSITORY,
# the data and the directory of the run. The same command continues a preempted run. When the run is
# finished, delete the resource:
#   gcloud compute tpus queued-resources delete NAME --force
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${MOUNT:?}" "${TYPE:?}" "${VERSION:?}" "${REPOSITORY:?}"
name=$1
shift
at=(--project "$PROJECT" --zone "$ZONE")

resource() { gcloud compute tpus queued-resources "$1" "$name" "${at[@]}" "${@:2}"; }
state() { resource describe --format='value(state.state)' 2>/dev/null || true; }

case "$(state)" in SUSPENDED | FAILED) resource delete --force --quiet ;; esac
if [ -z "$(state)" ]; then
    resource create --node-id "$name" --accelerator-type "$TYPE" \
        --runtime-version "$VERSION" ${SPOT:+--spot}
fi
until [ "$(state)" = ACTIVE ]; do
    case "$(state)" in SUSPENDED | FAILED)
        echo "$name is $(state): start the same command again" >&2
        exit 1
        ;;
    esac
    sleep 30
done

on() { gcloud compute tpus tpu-vm ssh "$name" "${at[@]}" --worker="$1" --command "$2"; }

on all "sudo mkdir -p /share && { mountpoint -q /share || sudo mount -t nfs $MOUNT /share; }"
on 0 "sudo chmod a+rwx /share && cd /share && { [ -d rnnae ] || git clone '$REPOSITORY' rnnae; }"
# Every host has its own environment. uv creates it, and also installs Python. rnnae itself is run
# from the checkout, which all hosts share.
on all "set -e
    curl -LsSf https://astral.sh/uv/install.sh | sh
    ~/.local/bin/uv venv -q --clear --python 3.11 ~/rnnae
    ~/.local/bin/uv pip install -q --python ~/rnnae/bin/python \
        -r /share/rnnae/pyproject.toml --extra tpu"
flags=$(printf ' %q' "$@")
# All hosts start the same command at the same time. Together they are one run.
on all "cd /share/rnnae && ~/rnnae/bin/python -m rnnae.main --distributed \
    --workdir=/share/runs/$name --config.data.data_dir=/share/data$flags"
